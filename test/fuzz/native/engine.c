// See engine.h. Stands in for native/engine.c, which starts a linked program.
#define _GNU_SOURCE
#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MEMORY = 256 << 20, STACK = 4 << 20, COLLECT_EVERY = 1000 };

static JSRuntime *runtime;
static JSContext *context;

JSContext *fuzz_engine(void)
{
  if (context != NULL) return context;
  runtime = JS_NewRuntime();
  if (runtime == NULL) fuzz_fail("no runtime");
  JS_SetMemoryLimit(runtime, MEMORY);
  JS_SetMaxStackSize(runtime, STACK);
  context = JS_NewContextRaw(runtime);
  if (context == NULL) fuzz_fail("no context");
  JS_AddIntrinsicBaseObjects(context);
  JS_AddIntrinsicJSON(context);
  JS_AddIntrinsicTypedArrays(context);
  return context;
}

JSContext *engine_context(void)
{
  return fuzz_engine();
}

void engine_run_jobs(void)
{
}

void engine_call(JSValueConst fn, int argc, JSValueConst *argv)
{
  JSValue result = JS_Call(context, fn, JS_UNDEFINED, argc, argv);
  if (JS_IsException(result)) fuzz_fail("a callback has thrown");
  JS_FreeValue(context, result);
}

JSValue fuzz_host(const struct host_exports *const *lists)
{
  JSContext *ctx = fuzz_engine();
  JSValue host = JS_NewObject(ctx);
  for (; *lists != NULL; lists++) JS_SetPropertyFunctionList(ctx, host, (*lists)->list, (*lists)->count);
  return host;
}

JSValue fuzz_call(JSValueConst host, const char *name, int count, JSValue *args)
{
  JSValue function = JS_GetPropertyStr(context, host, name);
  if (!JS_IsFunction(context, function)) fuzz_fail("no function %s", name);
  JSValue result = JS_Call(context, function, JS_UNDEFINED, count, (JSValueConst *)args);
  JS_FreeValue(context, function);
  for (int i = 0; i < count; i++) JS_FreeValue(context, args[i]);
  return JS_IsException(result) ? JS_GetException(context) : result;
}

void fuzz_collect(void)
{
  static unsigned inputs;
  if (++inputs % COLLECT_EVERY == 0) JS_RunGC(runtime);
}

void fuzz_fail(const char *format, ...)
{
  va_list args;
  va_start(args, format);
  fputs("ERROR: ", stderr);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  abort();
}
