// Processes after their start: pidfds, reaping, signals.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

static JSValue new_exit(JSContext *ctx, pid_t pid, int status, int signal)
{
  JSValue object = JS_NewObject(ctx);
  if (set_field(ctx, object, "pid", JS_NewInt32(ctx, pid)) < 0 || set_field(ctx, object, "status", JS_NewInt32(ctx, status)) < 0 ||
      set_field(ctx, object, "signal", JS_NewInt32(ctx, signal)) < 0) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static JSValue exit_of(JSContext *ctx, const siginfo_t *info)
{
  if (info->si_code == CLD_EXITED) return new_exit(ctx, info->si_pid, info->si_status, 0);
  return new_exit(ctx, info->si_pid, 128 + info->si_status, info->si_status);
}

static JSValue host_open_pidfd(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t pid;
  if (arg_int(ctx, argv[0], 1, INT32_MAX, &pid) < 0) return JS_EXCEPTION;
  long fd = syscall(SYS_pidfd_open, (pid_t)pid, 0); // close-on-exec by itself
  return fd < 0 ? throw_errno(ctx, errno, "pidfd_open", NULL) : JS_NewInt32(ctx, (int32_t)fd);
}

static JSValue host_reap_pidfd(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  if (fd < 0) return throw_errno(ctx, EBADF, "waitid", NULL);
  siginfo_t info;
  memset(&info, 0, sizeof info);
  int leave = argc > 1 && JS_ToBool(ctx, argv[1]) ? WNOWAIT : 0;
  if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | __WALL | leave) < 0) return throw_errno(ctx, errno, "waitid", NULL);
  return info.si_pid == 0 ? JS_NULL : exit_of(ctx, &info);
}

static JSValue host_reap_any(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  int leave = argc > 0 && JS_ToBool(ctx, argv[0]) ? WNOWAIT : 0;
  siginfo_t info;
  memset(&info, 0, sizeof info);
  if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | __WALL | leave) < 0) {
    return errno == ECHILD ? JS_NULL : throw_errno(ctx, errno, "waitid", NULL);
  }
  return info.si_pid == 0 ? JS_NULL : exit_of(ctx, &info);
}

static JSValue host_reap_pid(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t pid;
  if (arg_int(ctx, argv[0], 1, INT32_MAX, &pid) < 0) return JS_EXCEPTION;
  siginfo_t info;
  if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | __WALL) < 0) return throw_errno(ctx, errno, "waitid", NULL);
  return JS_UNDEFINED;
}

// Linux 6.15 and newer; the C library of Debian 12 does not know it.
struct pidfd_exit {
  uint64_t mask, cgroup;
  uint32_t ids[11];
  int32_t exit_code;
};
enum { PIDFD_EXIT_BIT = 1 << 3 };
#define PIDFD_EXIT_IOCTL _IOWR(0xFF, 11, struct pidfd_exit)

static JSValue host_pidfd_exit(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  struct pidfd_exit exit = {.mask = PIDFD_EXIT_BIT};
  if (ioctl(fd, PIDFD_EXIT_IOCTL, &exit) < 0 || !(exit.mask & PIDFD_EXIT_BIT)) return JS_NULL;
  int signal = WIFSIGNALED(exit.exit_code) ? WTERMSIG(exit.exit_code) : 0;
  return new_exit(ctx, 0, signal ? 128 + signal : WEXITSTATUS(exit.exit_code), signal);
}

static JSValue host_kill_pidfd(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t number;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], 0, SIGRTMAX, &number) < 0) return JS_EXCEPTION;
  if (syscall(SYS_pidfd_send_signal, fd, (int)number, NULL, 0) < 0) return throw_errno(ctx, errno, "pidfd_send_signal", NULL);
  return JS_UNDEFINED;
}

static JSValue host_take_descriptor(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int pidfd, theirs;
  if (arg_fd(ctx, argv[0], &pidfd) < 0 || arg_fd(ctx, argv[1], &theirs) < 0) return JS_EXCEPTION;
  long fd = syscall(SYS_pidfd_getfd, pidfd, theirs, 0); // close-on-exec by itself
  return fd < 0 ? throw_errno(ctx, errno, "pidfd_getfd", NULL) : JS_NewInt32(ctx, (int32_t)fd);
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("openPidfd", 1, host_open_pidfd),
    JS_CFUNC_DEF("reapPidfd", 2, host_reap_pidfd),
    JS_CFUNC_DEF("reapAny", 1, host_reap_any),
    JS_CFUNC_DEF("reapPid", 1, host_reap_pid),
    JS_CFUNC_DEF("pidfdExit", 1, host_pidfd_exit),
    JS_CFUNC_DEF("killPidfd", 2, host_kill_pidfd),
    JS_CFUNC_DEF("takeDescriptor", 2, host_take_descriptor),
};
HOST_EXPORTS(process_exports, entries);
