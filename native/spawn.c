// Starting a process: everything is prepared before the fork, and the child only makes system calls until it executes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"
#include "surroundings.h"

enum { MAX_FDS = 64, MAX_FILE_PATH = 4096 };

static struct rlimit first_files; // the limit of open files before it was raised
static bool files_raised;

// The kernel's own calls: the C library hides the two signals that its threads use, and a shim has no threads.
static void clear_mask(void)
{
  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
}

void block_signals(uint64_t signals)
{
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, &signals, NULL, sizeof signals);
}

// What the starter ignores stays ignored across exec, for us and for every container: its choice is not theirs. With SIGCHLD ignored
// the kernel would even reap our children.
static void stop_ignoring(void)
{
  for (int number = 1; number <= SIGRTMAX; number++) {
    uint64_t action[4] = {0}; // the kernel's struct sigaction, the handler first
    if (syscall(SYS_rt_sigaction, number, NULL, action, sizeof(uint64_t)) < 0 || action[0] != (uintptr_t)SIG_IGN) continue;
    memset(action, 0, sizeof action);
    syscall(SYS_rt_sigaction, number, action, NULL, sizeof(uint64_t));
  }
}

void process_start(bool keep_mask)
{
  stop_ignoring();
  if (!keep_mask) clear_mask();
  // A reader that goes away is an error of one write, never the end of the process.
  signal(SIGPIPE, SIG_IGN);
}

// In the child: default dispositions and an empty mask.
static void restore_signals(void)
{
  signal(SIGPIPE, SIG_DFL);
  clear_mask();
}

// Raises the soft limit of open files to the hard one, for this process alone.
static JSValue host_raise_file_limit(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return throw_errno(ctx, errno, "getrlimit", NULL);
  if (limit.rlim_cur == limit.rlim_max) return JS_UNDEFINED;
  first_files = limit;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) return throw_errno(ctx, errno, "setrlimit", NULL);
  files_raised = true;
  return JS_UNDEFINED;
}

// What a child is to become; all of it made by the parent.
struct plan {
  char **argv, **env;
  const char *file, *cwd; // cwd may be null
  const char *search; // PATH to search, or null if `file` has a slash
  char oom_score_adj[16]; // empty: leave it
  int fds[MAX_FDS];
  int fd_count;
  int death_signal;
  bool new_session;
  struct surroundings surroundings;
  pid_t parent;
};

// The steps that can fail, as the parent reports them.
enum step { STEP_SETSID, STEP_PRCTL, STEP_CHDIR, STEP_OPEN_NULL, STEP_FCNTL, STEP_DUP, STEP_EXEC };
static const char *const step_names[] = {"setsid", "prctl", "chdir", "openat", "fcntl", "dup2", "execve"};

struct failure {
  int step, error;
};

// --- in the child -----------------------------------------------------------------------------------------------------

static _Noreturn void fail(int report_fd, enum step step)
{
  struct failure failure = {.step = step, .error = errno};
  // Less than PIPE_BUF: written whole or not at all.
  if (write(report_fd, &failure, sizeof failure) < 0) _exit(126);
  _exit(127);
}

// Puts the planned descriptors in place. The report pipe and every source are first copied above the range, so that none is overwritten before it is used.
static int place_fds(const struct plan *plan, int report_fd)
{
  int sources[MAX_FDS], count = plan->fd_count;
  report_fd = fcntl(report_fd, F_DUPFD_CLOEXEC, count);
  if (report_fd < 0) _exit(126);
  for (int i = 0; i < count; i++) {
    int fd = plan->fds[i];
    if (fd < 0) {
      fd = open("/dev/null", O_RDWR | O_CLOEXEC);
      if (fd < 0) fail(report_fd, STEP_OPEN_NULL);
    }
    sources[i] = fcntl(fd, F_DUPFD_CLOEXEC, count);
    if (sources[i] < 0) fail(report_fd, STEP_FCNTL);
    if (plan->fds[i] < 0) close(fd);
  }
  for (int i = 0; i < count; i++) {
    if (dup2(sources[i], i) < 0) fail(report_fd, STEP_DUP);
  }
  // Older kernels refuse; process_start and the close-on-exec rule have covered it then, but for unused numbers below three.
  if (close_range((unsigned)count, ~0u, CLOSE_RANGE_CLOEXEC) < 0) {
    for (int fd = count; fd < 3; fd++) close(fd);
  }
  return report_fd;
}

// execve for each directory of PATH, with no allocation.
static void search_and_execute(const struct plan *plan)
{
  char path[MAX_FILE_PATH];
  int error = ENOENT;
  size_t name = strlen(plan->file);
  for (const char *p = plan->search;; p++) {
    size_t length = strcspn(p, ":");
    // An empty or relative entry would mean the working directory, which is a container's bundle: never a place for programs.
    if (*p == '/' && length + 1 + name + 1 <= sizeof path) {
      memcpy(path, p, length);
      path[length] = '/';
      memcpy(path + length + 1, plan->file, name + 1);
      execve(path, plan->argv, plan->env);
      if (errno == EACCES) error = EACCES;
      else if (errno != ENOENT && errno != ENOTDIR) return;
    }
    p += length;
    if (*p == '\0') break;
  }
  errno = error;
}

static _Noreturn void become(const struct plan *plan, int report_fd)
{
  if (plan->new_session && setsid() < 0) fail(report_fd, STEP_SETSID);
  if (plan->death_signal != 0) {
    if (prctl(PR_SET_PDEATHSIG, plan->death_signal, 0, 0, 0) < 0) fail(report_fd, STEP_PRCTL);
    if (getppid() != plan->parent) _exit(127); // the parent died before it could be watched
  }
  if (plan->oom_score_adj[0] != '\0') {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    // Refused without privilege; the child runs with what it has then.
    if (fd >= 0 && write(fd, plan->oom_score_adj, strlen(plan->oom_score_adj)) < 0) errno = 0;
    if (fd >= 0) close(fd);
  }
  report_fd = place_fds(plan, report_fd);
  if (plan->cwd != NULL && chdir(plan->cwd) < 0) fail(report_fd, STEP_CHDIR);
  take_surroundings(&plan->surroundings);
  restore_signals();
  // Last: the descriptors that were just moved may lie above it.
  if (files_raised) setrlimit(RLIMIT_NOFILE, &first_files);
  take_limits(&plan->surroundings);
  if (plan->search != NULL) search_and_execute(plan);
  else execve(plan->file, plan->argv, plan->env);
  fail(report_fd, STEP_EXEC);
}

// --- in the parent ----------------------------------------------------------------------------------------------------

// Forks with a pidfd. Returns the pid, 0 in the child, or -1 with errno.
static pid_t fork_with_pidfd(int *pidfd)
{
  *pidfd = -1;
  struct clone_args args = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)pidfd, .exit_signal = SIGCHLD};
  // Not glibc's fork: nothing of its state needs repair in a child that only makes system calls.
  long pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid >= 0 || errno != ENOSYS) return (pid_t)pid;
  // No clone3: an old kernel, or a seccomp filter that hides it.
  pid = fork();
  if (pid <= 0) return (pid_t)pid;
  *pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (*pidfd >= 0) return (pid_t)pid;
  int error = errno;
  kill((pid_t)pid, SIGKILL);
  waitpid((pid_t)pid, NULL, 0);
  errno = error;
  return -1;
}

// Starts the planned process. Returns 0 with its pid and pidfd (the caller's), or -1 with the failed step and its errno; no child is left then.
//
// It waits for the child's exec, the one place where the loop waits for anything. Until then the child holds copies of every descriptor of ours: a
// pipe that somebody closes meanwhile would not end, and a failure that came later would come after its caller has told others of the child.
// What the child does until then is a handful of system calls and the loading of a program, which is slow only where its disk is: then the
// runtime itself, and with it all that a shim is for, is as slow.
static int start(const struct plan *plan, pid_t *pid, int *pidfd, const char **step)
{
  int report[2];
  *step = "pipe2";
  if (pipe2(report, O_CLOEXEC) < 0) return -1;
  *step = "clone3";
  *pid = fork_with_pidfd(pidfd);
  if (*pid == 0) become(plan, report[1]);
  int error = errno;
  close(report[1]);
  if (*pid < 0) {
    close(report[0]);
    errno = error;
    return -1;
  }
  struct failure failure;
  ssize_t n;
  do n = read(report[0], &failure, sizeof failure);
  while (n < 0 && errno == EINTR);
  close(report[0]);
  if (n == 0) return 0; // exec closed the pipe
  while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(*pidfd);
  bool whole = n == (ssize_t)sizeof failure;
  *step = whole ? step_names[failure.step] : "read";
  errno = whole ? failure.error : EIO;
  return -1;
}

// --- the request ------------------------------------------------------------------------------------------------------

static int field_int(JSContext *ctx, JSValueConst request, const char *name, int64_t min, int64_t max, int64_t *result, bool *present)
{
  JSValue value = JS_GetPropertyStr(ctx, request, name);
  *present = !JS_IsUndefined(value);
  int done = JS_IsException(value) ? -1 : *present ? arg_int(ctx, value, min, max, result) : 0;
  JS_FreeValue(ctx, value);
  return done;
}

// A string field from JS_ToCString, null if it is absent.
static int field_string(JSContext *ctx, JSValueConst request, const char *name, const char **result)
{
  JSValue value = JS_GetPropertyStr(ctx, request, name);
  *result = NULL;
  int done = 0;
  if (JS_IsException(value)) done = -1;
  else if (!JS_IsUndefined(value)) done = (*result = arg_string(ctx, value)) ? 0 : -1;
  JS_FreeValue(ctx, value);
  return done;
}

static int field_strings(JSContext *ctx, JSValueConst request, const char *name, char ***result)
{
  JSValue value = JS_GetPropertyStr(ctx, request, name);
  *result = NULL;
  int done = 0;
  if (JS_IsException(value)) done = -1;
  else if (!JS_IsUndefined(value)) done = (*result = arg_strings(ctx, value)) ? 0 : -1;
  JS_FreeValue(ctx, value);
  return done;
}

static int field_fds(JSContext *ctx, JSValueConst request, struct plan *plan)
{
  JSValue array = JS_GetPropertyStr(ctx, request, "fds");
  int64_t count = 0;
  bool present;
  int done = JS_IsException(array) ? -1 : field_int(ctx, array, "length", 0, MAX_FDS, &count, &present);
  for (int i = 0; done == 0 && i < count; i++) {
    JSValue item = JS_GetPropertyUint32(ctx, array, (uint32_t)i);
    done = JS_IsException(item) ? -1 : arg_fd(ctx, item, &plan->fds[i]);
    JS_FreeValue(ctx, item);
  }
  plan->fd_count = (int)count;
  JS_FreeValue(ctx, array);
  return done;
}

static const char *path_of(char **env)
{
  for (; *env != NULL; env++) {
    if (strncmp(*env, "PATH=", 5) == 0) return *env + 5;
  }
  return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

// Fills in the plan; what it points to is the caller's to free, also on failure.
static int read_request(JSContext *ctx, JSValueConst request, struct plan *plan, char ***own_env)
{
  int64_t number = 0;
  bool present;
  plan->parent = getpid();
  if (field_strings(ctx, request, "argv", &plan->argv) < 0 || field_strings(ctx, request, "env", own_env) < 0 ||
      field_string(ctx, request, "file", &plan->file) < 0 || field_string(ctx, request, "cwd", &plan->cwd) < 0 ||
      field_fds(ctx, request, plan) < 0) {
    return -1;
  }
  if (plan->argv == NULL || plan->argv[0] == NULL) {
    JS_ThrowTypeError(ctx, "argv must have an element");
    return -1;
  }
  plan->env = *own_env ? *own_env : environ;
  const char *file = plan->file ? plan->file : plan->argv[0];
  if (strchr(file, '/') == NULL) plan->search = path_of(plan->env);
  if (field_int(ctx, request, "oomScoreAdj", -1000, 1000, &number, &present) < 0) return -1;
  if (present) snprintf(plan->oom_score_adj, sizeof plan->oom_score_adj, "%d", (int)number);
  if (field_int(ctx, request, "deathSignal", 1, SIGRTMAX, &number, &present) < 0) return -1;
  if (present) plan->death_signal = (int)number;
  if (read_surroundings(ctx, request, &plan->surroundings) < 0) return -1;
  JSValue session = JS_GetPropertyStr(ctx, request, "newSession");
  if (JS_IsException(session)) return -1;
  plan->new_session = JS_ToBool(ctx, session) > 0;
  JS_FreeValue(ctx, session);
  return 0;
}

static JSValue host_spawn(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  struct plan plan = {0};
  char **own_env = NULL;
  JSValue result = JS_EXCEPTION;
  if (read_request(ctx, argv[0], &plan, &own_env) == 0) {
    const char *given_file = plan.file, *step;
    if (plan.file == NULL) plan.file = plan.argv[0];
    pid_t pid;
    int pidfd;
    if (start(&plan, &pid, &pidfd, &step) < 0) {
      const char *path = strcmp(step, "execve") == 0 ? plan.file : strcmp(step, "chdir") == 0 ? plan.cwd : NULL;
      result = throw_errno(ctx, errno, step, path);
    } else {
      result = JS_NewObject(ctx);
      set_field(ctx, result, "pid", JS_NewInt32(ctx, pid));
      set_field(ctx, result, "pidfd", JS_NewInt32(ctx, pidfd));
    }
    plan.file = given_file;
  }
  JS_FreeCString(ctx, plan.file);
  JS_FreeCString(ctx, plan.cwd);
  free_strings(plan.argv);
  free_strings(own_env);
  return result;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("spawn", 1, host_spawn),
    JS_CFUNC_DEF("raiseFileLimit", 0, host_raise_file_limit),
};
HOST_EXPORTS(spawn_exports, entries);
