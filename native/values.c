// Arguments and results of the host's functions: strings, numbers, bytes, errors.
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

enum { MAX_STRINGS = 1 << 16 };

static JSValue new_error(JSContext *ctx, const char *message)
{
  JSValue global = JS_GetGlobalObject(ctx);
  JSValue constructor = JS_GetPropertyStr(ctx, global, "Error");
  JS_FreeValue(ctx, global);
  JSValue text = new_text(ctx, message, strlen(message));
  // Called as TypeScript would call it, so that `stack` names the caller.
  JSValue error = JS_CallConstructor(ctx, constructor, 1, (JSValueConst *)&text);
  JS_FreeValue(ctx, text);
  JS_FreeValue(ctx, constructor);
  return error;
}

int set_field(JSContext *ctx, JSValueConst object, const char *name, JSValue value)
{
  if (JS_IsException(value)) return -1;
  return JS_DefinePropertyValueStr(ctx, object, name, value, JS_PROP_C_W_E) < 0 ? -1 : 0;
}

JSValue throw_errno(JSContext *ctx, int error, const char *syscall, const char *path)
{
  return throw_because(ctx, error, syscall, path, NULL);
}

JSValue throw_because(JSContext *ctx, int error, const char *syscall, const char *path, const char *because)
{
  char message[512], number[32];
  const char *code = strerrorname_np(error), *reason = strerrordesc_np(error);
  if (code == NULL) {
    snprintf(number, sizeof number, "errno %d", error);
    code = reason = number;
  }
  if (because != NULL) reason = because;
  snprintf(message, sizeof message, "%s%s%s: %s", syscall, path ? " " : "", path ? path : "", reason);
  JSValue object = new_error(ctx, message);
  if (JS_IsException(object)) return object;
  if (set_field(ctx, object, "code", JS_NewString(ctx, code)) < 0 ||
      set_field(ctx, object, "syscall", JS_NewString(ctx, syscall)) < 0 ||
      (path && set_field(ctx, object, "path", new_text(ctx, path, strlen(path))) < 0)) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return JS_Throw(ctx, object);
}

const char *arg_string(JSContext *ctx, JSValueConst value)
{
  size_t length;
  const char *text = JS_ToCStringLen(ctx, &length, value);
  if (text == NULL) return NULL;
  if (strlen(text) == length) return text;
  JS_FreeCString(ctx, text);
  JS_ThrowTypeError(ctx, "a string for the system holds a NUL character");
  return NULL;
}

int arg_int(JSContext *ctx, JSValueConst value, int64_t min, int64_t max, int64_t *result)
{
  double number;
  if (JS_ToFloat64(ctx, &number, value) < 0) return -1;
  // Written so that NaN fails too.
  if (!(number >= (double)min && number <= (double)max)) {
    JS_ThrowRangeError(ctx, "%g is not within %" PRId64 " and %" PRId64, number, min, max);
    return -1;
  }
  *result = (int64_t)number;
  return 0;
}

int arg_fd(JSContext *ctx, JSValueConst value, int *fd)
{
  int64_t number;
  if (arg_int(ctx, value, -1, INT32_MAX, &number) < 0) return -1;
  *fd = (int)number;
  return 0;
}

int arg_bytes(JSContext *ctx, JSValueConst value, const uint8_t **bytes, size_t *length)
{
  size_t offset, element, size;
  JSValue buffer = JS_GetTypedArrayBuffer(ctx, value, &offset, length, &element);
  if (JS_IsException(buffer)) return -1;
  uint8_t *start = JS_GetArrayBuffer(ctx, &size, buffer);
  // The typed array holds the buffer, so the pointer outlives this reference.
  JS_FreeValue(ctx, buffer);
  if (start == NULL) {
    // An empty buffer may have no storage at all.
    if (*length != 0) return -1;
    JS_FreeValue(ctx, JS_GetException(ctx));
    *bytes = (const uint8_t *)"";
    return 0;
  }
  if (element != 1) {
    JS_ThrowTypeError(ctx, "bytes must be a Uint8Array");
    return -1;
  }
  *bytes = start + offset;
  return 0;
}

static void free_bytes(JSRuntime *runtime, void *opaque, void *bytes)
{
  (void)runtime;
  (void)opaque;
  free(bytes);
}

JSValue new_bytes(JSContext *ctx, uint8_t *bytes, size_t length)
{
  JSValue buffer = JS_NewArrayBuffer(ctx, bytes, length, free_bytes, NULL, 0);
  if (JS_IsException(buffer)) {
    free(bytes);
    return buffer;
  }
  // The engine reads all three, however many are said to be there.
  JSValueConst args[3] = {buffer, JS_UNDEFINED, JS_UNDEFINED};
  JSValue array = JS_NewTypedArray(ctx, 3, args, JS_TYPED_ARRAY_UINT8);
  JS_FreeValue(ctx, buffer);
  return array;
}

// Length of the well-formed UTF-8 sequence at `p`, or 0. `*bad` is then how many bytes one U+FFFD stands for
// (the longest prefix of a sequence, as the Unicode standard and the WHATWG decoder count).
static size_t sequence_length(const uint8_t *p, size_t left, size_t *bad)
{
  uint8_t first = p[0], low = 0x80, high = 0xBF;
  size_t need;
  *bad = 1;
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) need = 1;
  else if (first >= 0xE0 && first <= 0xEF) need = 2;
  else if (first >= 0xF0 && first <= 0xF4) need = 3;
  else return 0;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  for (size_t i = 1; i <= need; i++) {
    if (i >= left || p[i] < low || p[i] > high) {
      *bad = i;
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return need + 1;
}

JSValue new_text(JSContext *ctx, const char *bytes, size_t length)
{
  const uint8_t *p = (const uint8_t *)bytes;
  size_t good = 0, bad = 0;
  while (good < length) {
    size_t n = sequence_length(p + good, length - good, &bad);
    if (n == 0) break;
    good += n;
  }
  if (good == length) return JS_NewStringLen(ctx, bytes, length);
  if (length > SIZE_MAX / 3) return JS_ThrowRangeError(ctx, "text is too long");
  char *clean = malloc(length * 3); // each bad byte may become the three bytes of U+FFFD
  if (clean == NULL) return JS_ThrowOutOfMemory(ctx);
  memcpy(clean, bytes, good);
  size_t out = good;
  for (size_t i = good; i < length;) {
    size_t n = sequence_length(p + i, length - i, &bad);
    if (n > 0) memcpy(clean + out, bytes + i, n);
    else memcpy(clean + out, "\xEF\xBF\xBD", 3);
    out += n > 0 ? n : 3;
    i += n > 0 ? n : bad;
  }
  JSValue text = JS_NewStringLen(ctx, clean, out);
  free(clean);
  return text;
}

int arg_function(JSContext *ctx, JSValueConst value)
{
  if (JS_IsFunction(ctx, value)) return 0;
  JS_ThrowTypeError(ctx, "a callback must be a function");
  return -1;
}

void free_strings(char **strings)
{
  if (strings == NULL) return;
  for (char **p = strings; *p != NULL; p++) free(*p);
  free(strings);
}

char **arg_strings(JSContext *ctx, JSValueConst array)
{
  int64_t count = 0;
  JSValue length = JS_GetPropertyStr(ctx, array, "length");
  int failed = JS_IsException(length) ? -1 : arg_int(ctx, length, 0, MAX_STRINGS, &count);
  JS_FreeValue(ctx, length);
  if (failed < 0) return NULL;
  char **strings = calloc((size_t)count + 1, sizeof *strings);
  if (strings == NULL) goto no_memory;
  for (int64_t i = 0; i < count; i++) {
    JSValue item = JS_GetPropertyUint32(ctx, array, (uint32_t)i);
    const char *text = JS_IsException(item) ? NULL : arg_string(ctx, item);
    JS_FreeValue(ctx, item);
    if (text == NULL) {
      free_strings(strings);
      return NULL;
    }
    strings[i] = strdup(text);
    JS_FreeCString(ctx, text);
    if (strings[i] == NULL) goto no_memory;
  }
  return strings;
no_memory:
  free_strings(strings);
  JS_ThrowOutOfMemory(ctx);
  return NULL;
}
