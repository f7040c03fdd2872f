// The keeper, with a kernel of our own under it: processes that end in any order, engines that die of anything, memory that a dying engine has written over.
// What it was given it hands on once, in order, or keeps; with a page that makes no sense it goes on, within its bounds. The input is a list of operations.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "host.h"
#include "pages.h"

static pid_t fake_waitpid(pid_t pid, int *status, int options);
static int fake_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
static long fake_syscall(long number, ...);
static int fake_clock_gettime(clockid_t clock, struct timespec *time);
static _Noreturn void fake_exit(int status);
static int fake_execve(const char *path, char *const *argv, char *const *env);
static ssize_t fake_write(int fd, const void *bytes, size_t size);

// No file can be opened, and nothing is open but what the page names.
static int fake_open(const char *path, int flags, ...)
{
  (void)path;
  (void)flags;
  errno = EROFS;
  return -1;
}

static int fake_fstat(int fd, struct stat *status)
{
  (void)fd;
  (void)status;
  errno = EBADF;
  return -1;
}

static int fake_fcntl(int fd, int command, ...)
{
  (void)fd;
  (void)command;
  errno = EBADF;
  return -1;
}

static int fake_close(int fd)
{
  return fd < 0 ? -1 : 0;
}

static int fake_close_range(unsigned first, unsigned last, int flags)
{
  return first > last || flags < 0 ? -1 : 0;
}

static int fake_prctl(int option, ...)
{
  return option < 0 ? -1 : 0;
}

static int fake_nanosleep(const struct timespec *wanted, struct timespec *left)
{
  (void)wanted;
  (void)left;
  return 0;
}

// The kernel as keeper.c sees it.
#define waitpid fake_waitpid
#define waitid fake_waitid
#define syscall fake_syscall
#define clock_gettime fake_clock_gettime
#define _exit fake_exit
#define execve fake_execve
#define write fake_write
#define open fake_open
#define fstat fake_fstat
#define fcntl fake_fcntl
#define close fake_close
#define close_range fake_close_range
#define prctl fake_prctl
#define nanosleep fake_nanosleep
// It would have to come back from the file for each input.
void pages_forget_program(void) {}
#include "../../../native/execution.c"
#include "../../../native/sockets.c"
#include "../../../native/keeper.c"
#undef waitpid
#undef waitid
#undef write

enum { MOST_ENDED = 1024, MOST_PID = 1 << 22 };

_Noreturn static void wrong(const char *what)
{
  fprintf(stderr, "ERROR: the keeper: %s\n", what);
  abort();
}

void block_signals(uint64_t signals)
{
  (void)signals;
}

// No place fails here: what dies is the operations' matter.
bool failpoint(const char *name)
{
  return name == NULL;
}

void failpoint_choose_keepers(void)
{
}

// --- the kernel ---------------------------------------------------------------------------------------------------------------------------------------

struct end {
  pid_t pid;
  int status; // as waitpid gives it
};

static struct end zombies[MOST_ENDED];
static size_t zombie_count;
static struct end reaped[MOST_ENDED]; // in order
static size_t reaped_count, taken_count;
static pid_t last_pid;
static int64_t clock_ns;
static int clone_fails; // so many times
static jmp_buf over;
static bool hostile; // the page has been written over: it says what it likes

static void remove_zombie(size_t at)
{
  memmove(zombies + at, zombies + at + 1, (--zombie_count - at) * sizeof *zombies);
}

static pid_t fake_waitpid(pid_t pid, int *status, int options)
{
  (void)options;
  for (size_t i = 0; i < zombie_count; i++) {
    if (zombies[i].pid != pid) continue;
    *status = zombies[i].status;
    remove_zombie(i);
    return pid;
  }
  return 0;
}

static int fake_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
  if (zombie_count == 0) {
    errno = ECHILD;
    return -1;
  }
  size_t at = 0;
  while (type == P_PID && at < zombie_count && zombies[at].pid != (pid_t)id) at++;
  if (at == zombie_count) wrong("it waits for a process that is none of its own");
  struct end end = zombies[at];
  info->si_pid = end.pid;
  info->si_code = WIFEXITED(end.status) ? CLD_EXITED : CLD_KILLED;
  info->si_status = WIFEXITED(end.status) ? WEXITSTATUS(end.status) : WTERMSIG(end.status);
  if (options & WNOWAIT) return 0;
  if (reaped_count < MOST_ENDED) reaped[reaped_count++] = end;
  remove_zombie(at);
  return 0;
}

static long fake_syscall(long number, ...)
{
  if (number != SYS_clone) wrong("another system call");
  if (clone_fails > 0) {
    clone_fails--;
    errno = EAGAIN;
    return -1;
  }
  return ++last_pid;
}

static int fake_clock_gettime(clockid_t clock, struct timespec *time)
{
  (void)clock;
  *time = (struct timespec){clock_ns / 1000000000, clock_ns % 1000000000};
  return 0;
}

static void fake_exit(int status)
{
  (void)status;
  longjmp(over, 1);
}

static int fake_execve(const char *path, char *const *argv, char *const *env)
{
  (void)path;
  (void)argv;
  (void)env;
  errno = ENOEXEC;
  return -1;
}

static ssize_t fake_write(int fd, const void *bytes, size_t size)
{
  (void)fd;
  (void)bytes;
  return (ssize_t)size;
}

// --- what happens to it -------------------------------------------------------------------------------------------------------------------------------

static void end_process(pid_t pid, uint8_t how)
{
  if (zombie_count == MOST_ENDED) return;
  int status = how < 200 ? (how & 0x7f) << 8 : 1 + (how & 0x1f) % 31;
  zombies[zombie_count++] = (struct end){pid, status};
}

static void check_record(const struct kept_exit *record, struct end end)
{
  int status = WIFEXITED(end.status) ? WEXITSTATUS(end.status) : 128 + WTERMSIG(end.status);
  if (record->pid != end.pid || record->status != status) wrong("a record is of another process, or says something else");
}

// As mod_keeper.c does.
static void take_records(size_t most)
{
  struct kept *kept = keeper.kept;
  while (most-- > 0 && kept->taken < kept->written) {
    const struct kept_exit *record = &kept->exits[kept->taken % KEPT_EXITS];
    if (!hostile) check_record(record, reaped[taken_count]);
    taken_count++;
    kept->taken++;
  }
}

static void operate(uint8_t what, uint8_t value)
{
  struct kept *kept = keeper.kept;
  switch (what % 9) {
  case 0:
  case 1:
  case 2: end_process(++last_pid, value); break;
  case 3:
    if (engine > 0) end_process(engine, value);
    break;
  case 4: take_records(value); break;
  case 5: clock_ns += (int64_t)value * 1000000000; break;
  case 6: clone_fails = value & 3; break;
  case 7:
    if (engine > 0) end_process(engine, EXIT_EXECUTE);
    break;
  default:
    if (value < 240) break;
    hostile = true;
    // What follows in the input is what the engine has left there.
    kept->taken ^= (uint64_t)value << (value & 31);
    kept->written += value;
    kept->died_at[value % 3] -= (int64_t)value << 40;
  }
  take_ended();
}

static void begin(bool serving, bool has_fallback)
{
  static struct kept page;
  memset(&page, 0, sizeof page);
  keeper = (struct keeper){.state = 100, .page = 101, .poke = 102, .program = 103, .fallback = has_fallback ? 104 : -1, .kept = &page};
  page.serving = serving;
  zombie_count = reaped_count = taken_count = 0;
  clone_fails = 0;
  hostile = false;
  clock_ns = 1000000000000;
  tried_at = clock_ns;
  last_pid = 100;
  engine = 100;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size == 0) return 0;
  begin((data[0] & 1) == 0, (data[0] & 2) != 0);
  if (setjmp(over) != 0) return 0;
  for (size_t at = 1; at + 1 < size && reaped_count < MOST_ENDED / 2; at += 2) operate(data[at], data[at + 1]);
  const struct kept *kept = keeper.kept;
  if (engine < 0 || hostile) return 0;
  if (reaped_count != kept->written) wrong("a process was reaped and not handed on");
  if (kept->written - kept->taken < KEPT_EXITS && zombie_count > 0) wrong("a process has ended, there is room, and it is not handed on");
  take_records(KEPT_EXITS);
  return 0;
}
