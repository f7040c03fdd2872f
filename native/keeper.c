// The keeper: the parent of the process in which the engine runs, forked before the engine's heap exists. Both have one descriptor table, so
// that everything the engine had open when it died is open here, under the same number; it is a subreaper, so that the engine's children
// fall to it. Then it makes another engine. It allocates nothing, sleeps in one system call, and knows nothing of containers.
#define _GNU_SOURCE
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "execution.h"
#include "host.h"
#include "pages.h"
#include "sockets.h"

enum {
  DEATHS = 3,
  // What a keeper says that can make no engine, in the place of an exit status.
  NO_KEEPER = 255,
  // How often one that has given up looks whether it is still wanted, in seconds.
  LOOK_S = 2,
};
static const int64_t DEATH_WINDOW_NS = 60ll * 1000000000;
// How long an engine that was just executed may live and count as one that cannot read the state.
static const int64_t TRIAL_NS = 5ll * 1000000000;

struct keeper keeper = {.state = -1, .page = -1, .poke = -1, .program = -1, .fallback = -1};
pid_t starter;
static int launch = -1; // the write end of the pipe on which the starter waits
static pid_t engine;
static int64_t tried_at;

static int64_t now(clockid_t clock)
{
  struct timespec time;
  clock_gettime(clock, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

// All but faults of the program itself, and what nobody can take. The same for keeper and engine: what comes before the engine is ready waits.
static void block_all(void)
{
  uint64_t faults = 0;
  const int numbers[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) faults |= (uint64_t)1 << (numbers[i] - 1);
  block_signals(~faults);
}

// --- the page and its descriptors -------------------------------------------------------------------------------------

static int map_page(void)
{
  void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, keeper.page, 0);
  if (page == MAP_FAILED) return -1;
  keeper.kept = page;
  return 0;
}

static int make_page(void)
{
  keeper.state = memfd_create("holdfast-state", MFD_CLOEXEC);
  keeper.page = memfd_create("holdfast-exits", MFD_CLOEXEC);
  keeper.poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  keeper.program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (keeper.state < 0 || keeper.page < 0 || keeper.poke < 0 || keeper.program < 0) return -1;
  if (ftruncate(keeper.page, 4096) < 0) return -1;
  return map_page();
}

// --- the engine's process ---------------------------------------------------------------------------------------------

// A child with memory of its own, and one descriptor table with us. Returns in the child; the parent gets its pid, or -1: not every emulator of a
// processor (qemu's of programs), nor every sandbox, has that kind of clone.
static pid_t clone_engine(void)
{
  show_as_keeper(false);
  pid_t parent = getpid();
  // Not the C library's fork: it has no word for a shared table, and there is neither a thread nor a lock that it would have to mend.
  long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
  if (pid == 0) {
    keeper.pid = parent;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    return 0;
  }
  show_as_keeper(true);
  return (pid_t)pid;
}

unsigned keeper_generation(void)
{
  return keeper.kept == NULL ? 0 : keeper.kept->generation;
}

// --- in the keeper ----------------------------------------------------------------------------------------------------

static void write_all(int fd, const char *text)
{
  size_t length = strlen(text);
  if (write(fd, text, length) != (ssize_t)length) errno = 0; // nobody is left to be told
}

// Puts a file into the working directory, the shim's bundle.
static void leave_word(const char *name, int flags, const char *text)
{
  int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
  if (fd < 0) return;
  write_all(fd, text);
  close(fd);
}

// There is no engine any more to take it: whoever cleans up finds it in the bundle.
static void leave_exit(const struct kept_exit *exit)
{
  char text[96];
  int length = snprintf(text, sizeof text, "%d %d %lld\n", (int)exit->pid, (int)exit->status, (long long)exit->at);
  if (length > 0) leave_word("holdfast.exits", O_APPEND, text);
}

// What the engine has been handed and has not taken in.
static void leave_untaken(void)
{
  struct kept *kept = keeper.kept;
  for (uint64_t i = kept->taken; i < kept->written; i++) leave_exit(&kept->exits[i % KEPT_EXITS]);
  kept->taken = kept->written;
}

static bool is_hopeless(void)
{
  const int64_t *times = keeper.kept->died_at;
  return times[DEATHS - 1] != 0 && times[0] - times[DEATHS - 1] < DEATH_WINDOW_NS;
}

static void give_up(int status)
{
  char text[256];
  int length = snprintf(text, sizeof text,
                        "the shim ended %d times within a minute, the last time by %s %d: it is not started again, its container is left alone\n", DEATHS,
                        WIFSIGNALED(status) ? "signal" : "exit status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
  if (length > 0) leave_word("holdfast.crash", O_APPEND, text);
  engine = -1;
  // First, as whoever sees the sockets close reads it.
  leave_untaken();
  close_sockets();
}

static void note_death(void)
{
  struct kept *kept = keeper.kept;
  kept->deaths++;
  memmove(kept->died_at + 1, kept->died_at, (DEATHS - 1) * sizeof kept->died_at[0]);
  kept->died_at[0] = now(CLOCK_MONOTONIC);
}

static _Noreturn void leave(int status)
{
  _exit(status);
}

// Whether a program that was just executed has ended of its own fault: it cannot go on with the state.
static bool is_unfit(int status)
{
  if (keeper.fallback < 0 || now(CLOCK_MONOTONIC) - tried_at > TRIAL_NS) return false;
  return WIFEXITED(status) || WTERMSIG(status) == SIGABRT || WTERMSIG(status) == SIGSEGV;
}

// For containers that there are. Returns true in the engine.
static bool make_next_engine(void)
{
  for (;;) {
    engine = clone_engine();
    if (engine >= 0) return engine == 0;
    // No process to be had now: everything else waits too.
    struct timespec pause = {.tv_nsec = 50000000};
    nanosleep(&pause, NULL);
  }
}

// The engine's process has ended. Returns true in a new engine.
static bool engine_ended(int status)
{
  struct kept *kept = keeper.kept;
  bool exited = WIFEXITED(status);
  int code = exited ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (!kept->serving) {
    // One that has ended well may have left a process of its own that listens.
    if (code != 0) close_sockets();
    keeper_started(code);
    leave(code);
  }
  launch = -1; // the engine has closed it
  keeper.resumed = true;
  keeper.executed = false;
  if (exited && code == 0) leave(0);
  if (exited && code == EXIT_EXECUTE) {
    execute(kept->executable, "keeper");
    kept->failed_executions++;
  } else if (is_unfit(status)) {
    kept->failed_executions++;
    int program = keeper.fallback;
    keeper.fallback = -1;
    execute(program, "keeper");
    note_death();
  } else {
    note_death();
  }
  if (is_hopeless()) {
    give_up(status);
    return false;
  }
  failpoint("keeper:before-engine");
  kept->generation++;
  return make_next_engine();
}

static struct kept_exit exit_of(const siginfo_t *info)
{
  bool exited = info->si_code == CLD_EXITED;
  return (struct kept_exit){
      .pid = info->si_pid,
      .status = exited ? info->si_status : 128 + info->si_status,
      .signal = exited ? 0 : info->si_status,
      .at = now(CLOCK_REALTIME),
  };
}

static void hand_on(const struct kept_exit *exit)
{
  struct kept *kept = keeper.kept;
  kept->exits[kept->written % KEPT_EXITS] = *exit;
  __atomic_store_n(&kept->written, kept->written + 1, __ATOMIC_RELEASE);
  failpoint("keeper:handed-on");
}

// Takes everything that has ended. A record is there before its process is gone, and what there is no room for stays a zombie until there is.
// Returns true in a new engine.
static bool take_ended(void)
{
  struct kept *kept = keeper.kept;
  bool handed_on = false;
  for (;;) {
    siginfo_t info = {0};
    if (engine > 0) {
      int status;
      if (waitpid(engine, &status, WNOHANG | __WALL) == engine) {
        if (engine_ended(status)) return true;
        continue;
      }
    }
    int done = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL);
    if (done < 0 && errno == ECHILD && engine < 0) leave(0);
    if (done < 0 || info.si_pid == 0) break;
    if (info.si_pid == engine) continue;
    struct kept_exit ended = exit_of(&info);
    if (engine < 0) leave_exit(&ended);
    else if (kept->written - __atomic_load_n(&kept->taken, __ATOMIC_ACQUIRE) >= KEPT_EXITS) break;
    else {
      hand_on(&ended);
      handed_on = true;
    }
    waitid(P_PID, (id_t)info.si_pid, &info, WEXITED | WNOHANG | __WALL);
    failpoint("keeper:reaped");
  }
  uint64_t one = 1;
  if (handed_on && write(keeper.poke, &one, sizeof one) < 0) errno = 0;
  return false;
}

// Whether whoever cleans up has been here: what is held open for a successor then only keeps others waiting for an end.
static bool is_forgotten(void)
{
  struct stat status;
  return stat(".", &status) == 0 && status.st_nlink == 0;
}

// Returns in each new engine, never in the keeper.
static void keep(void)
{
  uint64_t every = ~(uint64_t)0;
  for (;;) {
    if (take_ended()) return;
    pages_forget_program();
    siginfo_t info;
    const struct timespec look = {.tv_sec = LOOK_S};
    long number = syscall(SYS_rt_sigtimedwait, &every, &info, engine < 0 ? &look : NULL, sizeof every);
    if (engine < 0 && is_forgotten()) leave(0);
    // Whoever asks one of the two to end means the other.
    if ((number == SIGTERM || number == SIGINT || number == SIGQUIT) && engine > 0) kill(engine, (int)number);
  }
}

static void begin_keeping(void)
{
  engine = clone_engine();
  if (engine == 0) return;
  if (engine < 0) {
    keeper_started(NO_KEEPER);
    leave(1);
  }
  keep();
}

// The same in a program that goes on.
static void go_on_keeping(void)
{
  if (!make_next_engine()) keep();
}

// --- start ------------------------------------------------------------------------------------------------------------

// In the process that was started: waits for the status of the start, and ends with it. Returns if there can be no keeper.
static void await_start(int fd)
{
  uint8_t status = 1;
  ssize_t n;
  do n = read(fd, &status, 1);
  while (n < 0 && errno == EINTR);
  if (n != 1 || status != NO_KEEPER) _exit(n == 1 ? status : 1);
  close(fd);
}

// As if there had never been one.
static void forget_keeper(pid_t pid)
{
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
  munmap(keeper.kept, 4096);
  const int fds[] = {keeper.state, keeper.page, keeper.poke, keeper.program};
  for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) close(fds[i]);
  keeper = (struct keeper){.state = -1, .page = -1, .poke = -1, .program = -1, .fallback = -1};
}

static void launch_keeper(void)
{
  int ends[2];
  if (make_page() < 0 || pipe2(ends, O_CLOEXEC) < 0) return; // it serves without a keeper
  pid_t pid = fork();
  if (pid < 0) return;
  if (pid > 0) {
    close(ends[1]);
    await_start(ends[0]);
    forget_keeper(pid);
    return;
  }
  failpoint_choose_keepers();
  close(ends[0]);
  launch = ends[1];
  block_all();
  setsid();
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  begin_keeping();
}

void keeper_started(int status)
{
  if (keeper.kept != NULL && status == 0) keeper.kept->serving = 1;
  if (launch < 0) return;
  uint8_t byte = (uint8_t)status;
  if (write(launch, &byte, 1) < 0) errno = 0; // it was killed meanwhile
  close(launch);
  launch = -1;
}

// --- on the other side of an execution --------------------------------------------------------------------------------

static void resume(void)
{
  char kind[KIND_SIZE];
  if (!execution_take(kind)) _exit(1);
  tried_at = now(CLOCK_MONOTONIC);
  keeper.program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (map_page() < 0) _exit(1);
  keeper.resumed = true;
  keeper.executed = true;
  keeper.kept->generation++;
  block_all();
  if (strcmp(kind, "keeper") != 0) return;
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  go_on_keeping();
}

int keeper_prepare(void)
{
  return keeper.kept == NULL && make_page() < 0 ? errno : 0;
}

int keeper_execute(int program, bool keeps)
{
  int error = keeper_prepare();
  if (error != 0) return error;
  keeper.kept->serving = 1;
  return execute(program, keeps ? "keeper" : "alone");
}

bool keeper_goes_on(void)
{
  return execution_is_resumed();
}

void keeper_start(int argc, char **argv)
{
  starter = getppid();
  bool is_start = argc > 1 && strcmp(argv[argc - 1], "start") == 0;
  execution_arguments(argv, is_start ? argv[argc - 1] : NULL);
  if (execution_is_resumed()) resume();
  else if (is_start) launch_keeper();
}
