// This process: identity, environment, fork, exec, exit.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "host.h"

#ifdef HOST_SANITIZE
#include <sanitizer/lsan_interface.h>
#endif

static JSValue host_environment(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  JSValue object = JS_NewObject(ctx);
  for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
    const char *equals = strchr(*entry, '=');
    if (equals == NULL) continue;
    JSAtom name = JS_NewAtomLen(ctx, *entry, (size_t)(equals - *entry));
    JSValue value = new_text(ctx, equals + 1, strlen(equals + 1));
    int done = name == JS_ATOM_NULL ? -1 : JS_DefinePropertyValue(ctx, object, name, value, JS_PROP_C_W_E);
    JS_FreeAtom(ctx, name);
    if (done >= 0) continue;
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static JSValue host_pid(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int parent)
{
  (void)self;
  (void)argc;
  (void)argv;
  return JS_NewInt32(ctx, parent ? getppid() : getpid());
}

static JSValue host_executable(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  char path[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  return n < 0 ? throw_errno(ctx, errno, "readlink", "/proc/self/exe") : new_text(ctx, path, (size_t)n);
}

static JSValue host_effective_uid(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  return JS_NewInt64(ctx, geteuid());
}

static JSValue host_working_directory(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  char path[PATH_MAX];
  if (getcwd(path, sizeof path) == NULL) return throw_errno(ctx, errno, "getcwd", NULL);
  return new_text(ctx, path, strlen(path));
}

static JSValue host_change_directory(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  JSValue result = chdir(path) < 0 ? throw_errno(ctx, errno, "chdir", path) : JS_UNDEFINED;
  JS_FreeCString(ctx, path);
  return result;
}

static JSValue host_exit(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t code;
  if (arg_int(ctx, argv[0], 0, 255, &code) < 0) return JS_EXCEPTION;
#ifdef HOST_SANITIZE
  __lsan_do_leak_check();
#endif
  _exit((int)code);
}

static JSValue host_fork(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  pid_t pid = fork();
  if (pid < 0) return throw_errno(ctx, errno, "fork", NULL);
  if (pid == 0) {
    int error = loop_after_fork();
    if (error != 0) return throw_errno(ctx, error, "epoll_ctl", NULL);
  }
  return JS_NewInt32(ctx, pid);
}

// Marks every descriptor close-on-exec, but not those in `keep`. 0, 1 and 2 are open across exec by rule, all others are not: undoing
// it after a failed exec needs no memory of what was.
static int keep_only(const int *keep, size_t count)
{
  if (close_range(0, ~0u, CLOSE_RANGE_CLOEXEC) < 0) return -1;
  for (size_t i = 0; i < count; i++) {
    if (fcntl(keep[i], F_SETFD, 0) < 0) return -1;
  }
  return 0;
}

static void keep_standard(void)
{
  close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  for (int fd = 0; fd < 3; fd++) fcntl(fd, F_SETFD, 0);
}

enum { MAX_KEPT = 64 };

static int arg_kept(JSContext *ctx, JSValueConst array, int kept[MAX_KEPT], size_t *count)
{
  int64_t length = 0;
  JSValue value = JS_GetPropertyStr(ctx, array, "length");
  int failed = JS_IsException(value) ? -1 : arg_int(ctx, value, 0, MAX_KEPT, &length);
  JS_FreeValue(ctx, value);
  for (uint32_t i = 0; failed == 0 && i < (uint32_t)length; i++) {
    value = JS_GetPropertyUint32(ctx, array, i);
    failed = JS_IsException(value) ? -1 : arg_fd(ctx, value, &kept[i]);
    JS_FreeValue(ctx, value);
  }
  *count = (size_t)length;
  return failed;
}

static JSValue host_execute(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int kept[MAX_KEPT];
  size_t count;
  if (arg_kept(ctx, argv[3], kept, &count) < 0) return JS_EXCEPTION;
  const char *path = arg_string(ctx, argv[0]);
  char **arguments = path ? arg_strings(ctx, argv[1]) : NULL;
  char **environment = arguments ? arg_strings(ctx, argv[2]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (environment != NULL) {
    const char *step = "fcntl";
    if (keep_only(kept, count) == 0) {
      sigset_t mask;
      sigprocmask(SIG_BLOCK, NULL, &mask);
      restore_signals();
      step = "execve";
      execve(path, arguments, environment);
      int error = errno;
      sigprocmask(SIG_SETMASK, &mask, NULL);
      signal(SIGPIPE, SIG_IGN);
      errno = error;
    }
    result = throw_errno(ctx, errno, step, path);
    keep_standard();
  }
  free_strings(environment);
  free_strings(arguments);
  JS_FreeCString(ctx, path);
  return result;
}

// A cookie that all processes of this process's group, and their children, share: only they run beside each other on a core.
static JSValue host_create_scheduling_core(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  int done = prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_PROCESS_GROUP, 0);
  return done < 0 ? throw_errno(ctx, errno, "prctl", NULL) : JS_UNDEFINED;
}

static JSValue host_new_session(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  return setsid() < 0 ? throw_errno(ctx, errno, "setsid", NULL) : JS_UNDEFINED;
}

static JSValue host_become_subreaper(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0 ? throw_errno(ctx, errno, "prctl", NULL) : JS_UNDEFINED;
}

static JSValue host_set_process_title(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *name = arg_string(ctx, argv[0]);
  if (name == NULL) return JS_EXCEPTION;
  int done = prctl(PR_SET_NAME, name, 0, 0, 0); // the kernel cuts it to 15 bytes
  JS_FreeCString(ctx, name);
  return done < 0 ? throw_errno(ctx, errno, "prctl", NULL) : JS_UNDEFINED;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("environment", 0, host_environment),
    JS_CFUNC_MAGIC_DEF("pid", 0, host_pid, 0),
    JS_CFUNC_MAGIC_DEF("parentPid", 0, host_pid, 1),
    JS_CFUNC_DEF("effectiveUid", 0, host_effective_uid),
    JS_CFUNC_DEF("executable", 0, host_executable),
    JS_CFUNC_DEF("workingDirectory", 0, host_working_directory),
    JS_CFUNC_DEF("changeDirectory", 1, host_change_directory),
    JS_CFUNC_DEF("exit", 1, host_exit),
    JS_CFUNC_DEF("fork", 0, host_fork),
    JS_CFUNC_DEF("execute", 4, host_execute),
    JS_CFUNC_DEF("createSchedulingCore", 0, host_create_scheduling_core),
    JS_CFUNC_DEF("newSession", 0, host_new_session),
    JS_CFUNC_DEF("becomeSubreaper", 0, host_become_subreaper),
    JS_CFUNC_DEF("setProcessTitle", 1, host_set_process_title),
};
HOST_EXPORTS(self_exports, entries);
