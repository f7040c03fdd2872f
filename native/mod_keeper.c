// The keeper as TypeScript sees it, from the engine's process.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "keeper.h"

static JSValue host_keeper(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  if (keeper.kept == NULL || (keeper.pid == 0 && !keeper.resumed)) return JS_NULL;
  int fds[7] = {keeper.state, keeper.page, keeper.poke, keeper.program, keeper.fallback};
  loop_descriptors(fds + 5);
  JSValue object = JS_NewObject(ctx), own = JS_NewArray(ctx);
  int done = 0;
  for (uint32_t i = 0; done >= 0 && i < 7; i++) {
    done = JS_DefinePropertyValueUint32(ctx, own, i, JS_NewInt32(ctx, fds[i]), JS_PROP_C_W_E);
  }
  if (done < 0) JS_FreeValue(ctx, own);
  if (done < 0 || set_field(ctx, object, "own", own) < 0 || set_field(ctx, object, "pid", JS_NewInt32(ctx, keeper.pid)) < 0 ||
      set_field(ctx, object, "resumed", JS_NewBool(ctx, keeper.resumed)) < 0 ||
      set_field(ctx, object, "isExecuted", JS_NewBool(ctx, keeper.executed)) < 0 ||
      set_field(ctx, object, "deaths", JS_NewInt64(ctx, keeper.kept->deaths)) < 0 ||
      set_field(ctx, object, "failedExecutions", JS_NewInt64(ctx, keeper.kept->failed_executions)) < 0 ||
      set_field(ctx, object, "state", JS_NewInt32(ctx, keeper.state)) < 0 ||
      set_field(ctx, object, "poke", JS_NewInt32(ctx, keeper.poke)) < 0) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static JSValue host_starter_pid(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  return JS_NewInt32(ctx, starter);
}

static JSValue host_started(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)ctx;
  (void)self;
  (void)argc;
  (void)argv;
  keeper_started(0);
  return JS_UNDEFINED;
}

static JSValue host_kept_exit(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t place;
  if (arg_int(ctx, argv[0], 0, KEPT_EXITS, &place) < 0) return JS_EXCEPTION;
  struct kept *kept = keeper.kept;
  if (kept == NULL) return JS_NULL;
  if (kept->taken + (uint64_t)place >= __atomic_load_n(&kept->written, __ATOMIC_ACQUIRE)) return JS_NULL;
  const struct kept_exit *exit = &kept->exits[(kept->taken + (uint64_t)place) % KEPT_EXITS];
  JSValue object = JS_NewObject(ctx);
  if (set_field(ctx, object, "pid", JS_NewInt32(ctx, exit->pid)) < 0 ||
      set_field(ctx, object, "status", JS_NewInt32(ctx, exit->status)) < 0 ||
      set_field(ctx, object, "signal", JS_NewInt32(ctx, exit->signal)) < 0 ||
      set_field(ctx, object, "at", JS_NewBigInt64(ctx, exit->at)) < 0) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static JSValue host_take_kept_exits(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t count;
  if (arg_int(ctx, argv[0], 0, KEPT_EXITS, &count) < 0) return JS_EXCEPTION;
  struct kept *kept = keeper.kept;
  if (kept == NULL) return JS_UNDEFINED;
  bool was_full = kept->written - kept->taken >= KEPT_EXITS;
  __atomic_store_n(&kept->taken, kept->taken + (uint64_t)count, __ATOMIC_RELEASE);
  if (was_full && keeper.pid > 0) kill(keeper.pid, SIGCHLD);
  return JS_UNDEFINED;
}

static JSValue host_prepare_state(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  int error = keeper_prepare();
  return error ? throw_errno(ctx, error, "memfd_create", NULL) : JS_NewInt32(ctx, keeper.state);
}

static JSValue host_execute(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int program;
  if (arg_fd(ctx, argv[0], &program) < 0) return JS_EXCEPTION;
  return throw_errno(ctx, keeper_execute(program, JS_ToBool(ctx, argv[1])), "execve", NULL);
}

static JSValue host_have_executed(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int program;
  if (arg_fd(ctx, argv[0], &program) < 0) return JS_EXCEPTION;
  if (keeper.kept == NULL) return throw_errno(ctx, ESRCH, "exit", NULL);
  keeper.kept->executable = program;
  keeper.kept->failed_executions = 0;
  _exit(EXIT_EXECUTE);
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("keeper", 0, host_keeper),
    JS_CFUNC_DEF("starterPid", 0, host_starter_pid),
    JS_CFUNC_DEF("started", 0, host_started),
    JS_CFUNC_DEF("keptExit", 1, host_kept_exit),
    JS_CFUNC_DEF("takeKeptExits", 1, host_take_kept_exits),
    JS_CFUNC_DEF("prepareState", 0, host_prepare_state),
    JS_CFUNC_DEF("execute", 2, host_execute),
    JS_CFUNC_DEF("haveExecuted", 1, host_have_executed),
};
HOST_EXPORTS(keeper_exports, entries);
