// The one JavaScript runtime of this process: made from the linked program, called by loop.c and main.c. All that is particular to the
// engine's version stands here.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "heap.h"
#include "host.h"
#include "image.h"
#include "pages.h"

#ifdef HOST_SANITIZE
#include <sanitizer/lsan_interface.h>
#endif

// The compiled program: see program.S.
extern const uint8_t program_image[];

static JSRuntime *runtime;
static JSContext *context;
static JSValue uncaught = NO_VALUE; // the receiver that onUncaught set
static JSValue arguments = NO_VALUE; // process arguments, an array

// Promises rejected while nobody handles them. Each holds its promise and its reason.
struct rejection {
  JSValue promise, reason;
};
static struct rejection *rejections;
static size_t rejection_count, rejection_room;

JSContext *engine_context(void)
{
  return context;
}

// --- uncaught errors --------------------------------------------------------------------------------------------------

static void print(const char *text)
{
  size_t length = strlen(text);
  while (length > 0) {
    ssize_t n = write(STDERR_FILENO, text, length);
    if (n <= 0) return;
    text += n;
    length -= (size_t)n;
  }
}

static void print_value(JSValueConst value)
{
  const char *text = JS_ToCString(context, value);
  print(text ? text : "(an error that cannot be printed)");
  print("\n");
  JS_FreeCString(context, text);
}

static _Noreturn void abort_with(JSValueConst error)
{
  print_value(error);
  if (JS_IsError(context, error)) {
    JSValue stack = JS_GetPropertyStr(context, error, "stack");
    if (JS_IsString(stack)) print_value(stack);
  }
  abort();
}

// Hands `error` (taken) to the receiver of uncaught errors.
static void report(JSValue error)
{
  if (JS_IsUndefined(uncaught)) abort_with(error);
  JSValue receiver = JS_DupValue(context, uncaught);
  JSValue result = JS_Call(context, receiver, JS_UNDEFINED, 1, (JSValueConst *)&error);
  JS_FreeValue(context, receiver);
  if (JS_IsException(result)) {
    print_value(error);
    abort_with(JS_GetException(context));
  }
  JS_FreeValue(context, result);
  JS_FreeValue(context, error);
}

static void track_rejection(JSContext *ctx, JSValueConst promise, JSValueConst reason, JS_BOOL is_handled, void *opaque)
{
  (void)opaque;
  if (is_handled) {
    for (size_t i = 0; i < rejection_count; i++) {
      if (JS_VALUE_GET_PTR(rejections[i].promise) != JS_VALUE_GET_PTR(promise)) continue;
      JS_FreeValue(ctx, rejections[i].promise);
      JS_FreeValue(ctx, rejections[i].reason);
      rejection_count--;
      memmove(rejections + i, rejections + i + 1, (rejection_count - i) * sizeof *rejections);
      return;
    }
    return;
  }
  if (rejection_count == rejection_room) {
    size_t room = rejection_room ? rejection_room * 2 : 4;
    struct rejection *grown = realloc(rejections, room * sizeof *grown);
    if (grown == NULL) abort();
    rejections = grown;
    rejection_room = room;
  }
  rejections[rejection_count].promise = JS_DupValue(ctx, promise);
  rejections[rejection_count].reason = JS_DupValue(ctx, reason);
  rejection_count++;
}

void engine_run_jobs(void)
{
  for (;;) {
    JSContext *ctx;
    int done;
    while ((done = JS_ExecutePendingJob(runtime, &ctx)) != 0) {
      if (done < 0) report(JS_GetException(ctx));
    }
    if (rejection_count == 0) break;
    // The oldest first; its receiver may make new jobs, and these may handle the others.
    struct rejection first = rejections[0];
    rejection_count--;
    memmove(rejections, rejections + 1, rejection_count * sizeof *rejections);
    JS_FreeValue(context, first.promise);
    report(first.reason);
  }
  free(rejections);
  rejections = NULL;
  rejection_room = 0;
#ifdef HOST_SANITIZE
  JS_RunGC(runtime);
#endif
}

void engine_call(JSValueConst fn, int argc, JSValueConst *argv)
{
  JSValue held = JS_DupValue(context, fn);
  JSValue result = JS_Call(context, held, JS_UNDEFINED, argc, argv);
  JS_FreeValue(context, held);
  if (JS_IsException(result)) report(JS_GetException(context));
  JS_FreeValue(context, result);
  engine_run_jobs();
}

// --- memory -----------------------------------------------------------------------------------------------------------

void engine_trim(void)
{
  JS_RunGC(runtime);
  heap_trim();
  pages_forget_stack();
}

#ifdef HOST_SANITIZE
// Forces a collection at every so many allocations: a value that somebody forgot to hold is then freed early, and ASan sees its next use.
enum { COLLECT_EVERY = 64 };
static unsigned allocations;

static void collect_often(void)
{
  if (++allocations % COLLECT_EVERY == 0) JS_SetGCThreshold(runtime, 0);
}
#endif

static JSRuntime *new_runtime(void)
{
  JSRuntime *fresh = JS_NewRuntime2(&heap_functions, NULL);
#ifdef HOST_SANITIZE
  heap_allocated = collect_often;
#else
  if (fresh != NULL) JS_SetGCThreshold(fresh, this_program.first_collection);
#endif
  return fresh;
}

// --- the module "holdfast:host" ---------------------------------------------------------------------------------------

static JSValue host_on_uncaught(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  if (arg_function(ctx, argv[0]) < 0) return JS_EXCEPTION;
  JS_FreeValue(ctx, uncaught);
  uncaught = JS_DupValue(ctx, argv[0]);
  return JS_UNDEFINED;
}

static JSValue host_trim_memory(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)ctx;
  (void)self;
  (void)argc;
  (void)argv;
  engine_trim();
  return JS_UNDEFINED;
}

static JSValue host_memory_usage(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  JSMemoryUsage usage;
  JS_ComputeMemoryUsage(runtime, &usage);
  JSValue result = JS_NewObject(ctx);
  if (set_field(ctx, result, "allocated", JS_NewInt64(ctx, usage.malloc_size)) < 0 ||
      set_field(ctx, result, "objects", JS_NewInt64(ctx, usage.obj_count)) < 0) {
    JS_FreeValue(ctx, result);
    return JS_EXCEPTION;
  }
  return result;
}

static const JSCFunctionListEntry engine_entries[] = {
    JS_CFUNC_DEF("onUncaught", 1, host_on_uncaught),
    JS_CFUNC_DEF("trimMemory", 0, host_trim_memory),
    JS_CFUNC_DEF("memoryUsage", 0, host_memory_usage),
};
HOST_EXPORTS(engine_exports, engine_entries);

static int fill_module(JSContext *ctx, JSModuleDef *module)
{
  for (const struct host_exports *const *each = this_program.exports; *each != NULL; each++) {
    if (JS_SetModuleExportList(ctx, module, (*each)->list, (*each)->count) < 0) return -1;
  }
  return JS_SetModuleExport(ctx, module, "argv", JS_DupValue(ctx, arguments));
}

static int add_module(JSContext *ctx)
{
  JSModuleDef *module = JS_NewCModule(ctx, "holdfast:host", fill_module);
  if (module == NULL) return -1;
  for (const struct host_exports *const *each = this_program.exports; *each != NULL; each++) {
    if (JS_AddModuleExportList(ctx, module, (*each)->list, (*each)->count) < 0) return -1;
  }
  return JS_AddModuleExport(ctx, module, "argv");
}

static int set_arguments(JSContext *ctx, int argc, char **argv)
{
  arguments = JS_NewArray(ctx);
  for (int i = 0; i < argc; i++) {
    JSValue text = new_text(ctx, argv[i], strlen(argv[i]));
    if (JS_DefinePropertyValueUint32(ctx, arguments, (uint32_t)i, text, JS_PROP_C_W_E) < 0) return -1;
  }
  return 0;
}

// --- start and end ----------------------------------------------------------------------------------------------------

// What the top level throws rejects two promises: that of its function, which nobody can see, and that of the module. Once is enough.
static void forget_second_rejection(JSValueConst module)
{
  if (rejection_count >= 2) track_rejection(context, module, JS_UNDEFINED, 1, NULL);
}

void engine_start(int argc, char **argv)
{
  runtime = new_runtime();
  if (runtime == NULL) abort();
#ifdef HOST_SANITIZE
  JS_SetMaxStackSize(runtime, 4 << 20); // instrumented frames are several times larger
#endif
  context = JS_NewContextRaw(runtime);
  if (context == NULL) abort();
  JS_SetHostPromiseRejectionTracker(runtime, track_rejection, NULL);

  // The image is read before anything else makes names: they then get the numbers that the compiler gave them.
  JSValue program = image_read(context, program_image);
  if (JS_IsException(program)) abort();

  // Of the rest a program takes what it needs. What none takes, the linker drops: eval always, and the parser with it.
  JS_AddIntrinsicBaseObjects(context);
  JS_AddIntrinsicJSON(context);
  JS_AddIntrinsicMapSet(context);
  JS_AddIntrinsicTypedArrays(context);
  JS_AddIntrinsicPromise(context);
  if (this_program.add_intrinsics != NULL) this_program.add_intrinsics(context);

  if (set_arguments(context, argc, argv) < 0 || add_module(context) < 0 || JS_ResolveModule(context, program) < 0) {
    abort_with(JS_GetException(context));
  }
  JSValue result = JS_EvalFunction(context, program);
  if (JS_IsException(result)) report(JS_GetException(context));
  forget_second_rejection(result);
  JS_FreeValue(context, result);
  engine_run_jobs();
}

void engine_stop(void)
{
#ifdef HOST_SANITIZE
  JS_FreeValue(context, uncaught);
  JS_FreeValue(context, arguments);
  JS_FreeContext(context);
  JS_FreeRuntime(runtime); // asserts that no object is left
  heap_allocated = NULL;
  __lsan_do_leak_check();
#endif
}
