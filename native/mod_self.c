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

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("environment", 0, host_environment),
    JS_CFUNC_MAGIC_DEF("pid", 0, host_pid, 0),
    JS_CFUNC_MAGIC_DEF("parentPid", 0, host_pid, 1),
    JS_CFUNC_DEF("effectiveUid", 0, host_effective_uid),
    JS_CFUNC_DEF("workingDirectory", 0, host_working_directory),
    JS_CFUNC_DEF("exit", 1, host_exit),
    JS_CFUNC_DEF("fork", 0, host_fork),
    JS_CFUNC_DEF("createSchedulingCore", 0, host_create_scheduling_core),
    JS_CFUNC_DEF("newSession", 0, host_new_session),
    JS_CFUNC_DEF("becomeSubreaper", 0, host_become_subreaper),
};
HOST_EXPORTS(self_exports, entries);
