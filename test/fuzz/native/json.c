// JSON as the engine reads it: config.json, state, options. What is read and written again is read as the same.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "engine.h"

static JSValue parse(JSContext *ctx, const char *text, size_t length)
{
  return JS_ParseJSON(ctx, text, length, "input");
}

static JSValue write_again(JSContext *ctx, JSValueConst value)
{
  return JS_JSONStringify(ctx, value, JS_UNDEFINED, JS_UNDEFINED);
}

static void check(JSContext *ctx, JSValueConst value)
{
  JSValue first = write_again(ctx, value);
  // Out of memory or stack: said, as any error is.
  if (JS_IsException(first)) {
    JS_FreeValue(ctx, JS_GetException(ctx));
    return;
  }
  size_t length;
  const char *text = JS_ToCStringLen(ctx, &length, first);
  if (text == NULL) fuzz_fail("no text");
  JSValue again = parse(ctx, text, length);
  JS_FreeCString(ctx, text);
  if (JS_IsException(again)) fuzz_fail("what is written is no JSON");
  JSValue second = write_again(ctx, again);
  if (!JS_StrictEq(ctx, first, second)) fuzz_fail("what is written is read as something else");
  JS_FreeValue(ctx, second);
  JS_FreeValue(ctx, again);
  JS_FreeValue(ctx, first);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  JSContext *ctx = fuzz_engine();
  // As JSON.parse does: the bytes become text first, and the parser gets that with a NUL behind it.
  JSValue text = new_text(ctx, (const char *)data, size);
  size_t length;
  const char *given = JS_ToCStringLen(ctx, &length, text);
  if (given == NULL) fuzz_fail("no text");
  JSValue value = parse(ctx, given, length);
  if (JS_IsException(value)) JS_FreeValue(ctx, JS_GetException(ctx));
  else check(ctx, value);
  JS_FreeValue(ctx, value);
  JS_FreeCString(ctx, given);
  JS_FreeValue(ctx, text);
  fuzz_collect();
  return 0;
}
