// The terminal that a command runs in.
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <unistd.h>

#include "front.h"

static JSValue host_is_terminal(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  return JS_NewBool(ctx, isatty(fd));
}

static JSValue host_terminal_size(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  struct winsize size;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  if (ioctl(fd, TIOCGWINSZ, &size) < 0) return JS_NULL;
  JSValue result = JS_NewObject(ctx);
  if (set_field(ctx, result, "columns", JS_NewInt32(ctx, size.ws_col)) >= 0 &&
      set_field(ctx, result, "rows", JS_NewInt32(ctx, size.ws_row)) >= 0) {
    return result;
  }
  JS_FreeValue(ctx, result);
  return JS_EXCEPTION;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("isTerminal", 1, host_is_terminal),
    JS_CFUNC_DEF("terminalSize", 1, host_terminal_size),
};
HOST_EXPORTS(terminal_exports, entries);
