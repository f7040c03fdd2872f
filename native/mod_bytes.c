// Text and hashes over bytes.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "host.h"

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
  // The engine writes a lone surrogate as three bytes (ED A0..BF xx); the standard encoder writes U+FFFD, also three bytes.
  for (size_t i = 0; i + 2 < length; i++) {
    if (bytes[i] == 0xED && bytes[i + 1] >= 0xA0) memcpy(bytes + i, "\xEF\xBF\xBD", 3);
  }
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

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("encodeUtf8", 1, host_encode_utf8),
    JS_CFUNC_DEF("decodeUtf8", 1, host_decode_utf8),
    JS_CFUNC_DEF("sha256", 1, host_sha256),
};
HOST_EXPORTS(bytes_exports, entries);
