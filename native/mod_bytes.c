// Text, hashes over bytes, and batches of records.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "host.h"

// The engine writes a lone surrogate as three bytes (ED A0..BF xx); the standard encoder writes U+FFFD, also three bytes.
static void replace_surrogates(uint8_t *bytes, size_t length)
{
  for (size_t i = 0; i + 2 < length; i++) {
    if (bytes[i] == 0xED && bytes[i + 1] >= 0xA0) memcpy(bytes + i, "\xEF\xBF\xBD", 3);
  }
}

static JSValue host_encode_utf8(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  size_t length;
  const char *text = JS_ToCStringLen(ctx, &length, argv[0]);
  if (text == NULL) return JS_EXCEPTION;
  uint8_t *bytes = malloc(length ? length : 1);
  if (bytes == NULL) {
    JS_FreeCString(ctx, text);
    return JS_ThrowOutOfMemory(ctx);
  }
  memcpy(bytes, text, length);
  JS_FreeCString(ctx, text);
  replace_surrogates(bytes, length);
  return new_bytes(ctx, bytes, length);
}

static JSValue host_decode_utf8(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const uint8_t *bytes;
  size_t length;
  if (arg_bytes(ctx, argv[0], &bytes, &length) < 0) return JS_EXCEPTION;
  return new_text(ctx, (const char *)bytes, length);
}

static JSValue host_sha256(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const uint8_t *bytes;
  size_t length;
  if (arg_bytes(ctx, argv[0], &bytes, &length) < 0) return JS_EXCEPTION;
  uint8_t digest[32];
  char hex[64];
  sha256(bytes, length, digest);
  for (int i = 0; i < 32; i++) {
    hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
    hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
  }
  return JS_NewStringLen(ctx, hex, sizeof hex);
}

// --- batches of records (docs/state.md) -------------------------------------------------------------------------------

enum { BATCH_HEADER = 8, ENTRY_HEADER = 6, MAX_KEY = 0xffff, LEAST_ROOM = 256 };
static const uint32_t REMOVED = 0xffffffff;

struct batch {
  uint8_t *bytes;
  size_t length, room;
};

static void put_u32(uint8_t *at, uint32_t value)
{
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

// Makes room for so many bytes behind what there is. Returns -1 with an exception pending.
static int make_room(JSContext *ctx, struct batch *batch, size_t count)
{
  if (batch->room - batch->length >= count) return 0;
  size_t room = (batch->length + count) * 2 + LEAST_ROOM;
  uint8_t *grown = room < count ? NULL : realloc(batch->bytes, room);
  if (grown == NULL) {
    JS_ThrowOutOfMemory(ctx);
    return -1;
  }
  batch->bytes = grown;
  batch->room = room;
  return 0;
}

// Adds the text, or the bytes, and stores how many they are. Returns -1 with an exception pending.
static int add_content(JSContext *ctx, struct batch *batch, JSValueConst content, size_t *length)
{
  const uint8_t *bytes;
  const char *text = NULL;
  if (JS_IsString(content)) {
    text = JS_ToCStringLen(ctx, length, content);
    if (text == NULL) return -1;
    bytes = (const uint8_t *)text;
  } else if (arg_bytes(ctx, content, &bytes, length) < 0) {
    return -1;
  }
  int done = make_room(ctx, batch, *length);
  if (done == 0) {
    memcpy(batch->bytes + batch->length, bytes, *length);
    if (text != NULL) replace_surrogates(batch->bytes + batch->length, *length);
    batch->length += *length;
  }
  JS_FreeCString(ctx, text);
  return done;
}

static int add_entry(JSContext *ctx, struct batch *batch, JSValueConst key, JSValueConst content)
{
  size_t header = batch->length, key_length, length = 0;
  if (make_room(ctx, batch, ENTRY_HEADER) < 0) return -1;
  batch->length += ENTRY_HEADER;
  if (add_content(ctx, batch, key, &key_length) < 0) return -1;
  if (key_length > MAX_KEY) {
    JS_ThrowRangeError(ctx, "a record's key has %zu bytes", key_length);
    return -1;
  }
  bool is_removed = JS_IsUndefined(content);
  if (!is_removed && add_content(ctx, batch, content, &length) < 0) return -1;
  if (length >= REMOVED) {
    JS_ThrowRangeError(ctx, "a record has %zu bytes", length);
    return -1;
  }
  uint8_t *at = batch->bytes + header;
  at[0] = (uint8_t)(key_length >> 8);
  at[1] = (uint8_t)key_length;
  put_u32(at + 2, is_removed ? REMOVED : (uint32_t)length);
  return 0;
}

// All in one call, as there are many small ones in a shim's life: the engine takes ten times as long for the same.
static JSValue host_record_batch(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  struct batch batch = {0};
  int64_t count;
  JSValue length = JS_GetPropertyStr(ctx, argv[0], "length");
  if (JS_IsException(length) || arg_int(ctx, length, 0, UINT32_MAX, &count) < 0 || make_room(ctx, &batch, BATCH_HEADER) < 0) return JS_EXCEPTION;
  batch.length = BATCH_HEADER;
  for (int64_t i = 0; i + 1 < count; i += 2) {
    JSValue key = JS_GetPropertyUint32(ctx, argv[0], (uint32_t)i), content = JS_GetPropertyUint32(ctx, argv[0], (uint32_t)i + 1);
    int done = JS_IsException(key) || JS_IsException(content) ? -1 : add_entry(ctx, &batch, key, content);
    JS_FreeValue(ctx, key);
    JS_FreeValue(ctx, content);
    if (done < 0) {
      free(batch.bytes);
      return JS_EXCEPTION;
    }
  }
  uint8_t digest[32];
  sha256(batch.bytes + BATCH_HEADER, batch.length - BATCH_HEADER, digest);
  put_u32(batch.bytes, (uint32_t)(batch.length - BATCH_HEADER));
  memcpy(batch.bytes + 4, digest, 4);
  return new_bytes(ctx, batch.bytes, batch.length);
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("encodeUtf8", 1, host_encode_utf8),
    JS_CFUNC_DEF("decodeUtf8", 1, host_decode_utf8),
    JS_CFUNC_DEF("sha256", 1, host_sha256),
    JS_CFUNC_DEF("recordBatch", 1, host_record_batch),
};
HOST_EXPORTS(bytes_exports, entries);
