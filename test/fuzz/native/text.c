// Bytes from outside as the shim's text, and back; and their hash, which another library must agree with.
#define _GNU_SOURCE
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

// By the table of the Unicode standard (3-7), written another way than values.c has it.
static int is_well_formed(const uint8_t *p, size_t length)
{
  for (size_t at = 0; at < length;) {
    uint32_t code = p[at];
    size_t more = code < 0x80 ? 0 : code >= 0xF0 ? 3 : code >= 0xE0 ? 2 : 1;
    if (code >= 0x80 && (code < 0xC0 || code > 0xF7)) return 0;
    if (at + more >= length) return 0;
    code &= more == 0 ? 0x7F : 0x3Fu >> more;
    for (size_t i = 1; i <= more; i++) {
      if ((p[at + i] & 0xC0) != 0x80) return 0;
      code = code << 6 | (p[at + i] & 0x3F);
    }
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[more] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return 0;
    at += more + 1;
  }
  return 1;
}

static JSValue bytes_of(JSContext *ctx, const uint8_t *data, size_t size)
{
  uint8_t *copy = malloc(size + 1);
  if (copy == NULL) fuzz_fail("out of memory");
  memcpy(copy, data, size);
  return new_bytes(ctx, copy, size);
}

static const uint8_t *content(JSContext *ctx, JSValueConst bytes, size_t *size)
{
  const uint8_t *start;
  if (arg_bytes(ctx, bytes, &start, size) < 0) fuzz_fail("no bytes");
  return start;
}

static void check_text(JSContext *ctx, JSValueConst host, const uint8_t *data, size_t size)
{
  JSValue text = fuzz_call(host, "decodeUtf8", 1, (JSValue[]){bytes_of(ctx, data, size)});
  if (!JS_IsString(text)) fuzz_fail("no text");
  JSValue bytes = fuzz_call(host, "encodeUtf8", 1, (JSValue[]){JS_DupValue(ctx, text)});
  size_t length;
  const uint8_t *out = content(ctx, bytes, &length);
  if (!is_well_formed(out, length)) fuzz_fail("what is written is not UTF-8");
  if (is_well_formed(data, size) && (length != size || memcmp(out, data, size) != 0)) fuzz_fail("UTF-8 comes back as something else");
  JSValue again = fuzz_call(host, "decodeUtf8", 1, (JSValue[]){JS_DupValue(ctx, bytes)});
  if (!JS_StrictEq(ctx, text, again)) fuzz_fail("the same text is read as another");
  JS_FreeValue(ctx, again);
  JS_FreeValue(ctx, bytes);
  JS_FreeValue(ctx, text);
}

// A text of the program's own may hold halves of pairs.
static void check_halves(JSContext *ctx, JSValueConst host, const uint8_t *data, size_t size)
{
  JSValue bytes = fuzz_call(host, "encodeUtf8", 1, (JSValue[]){JS_NewStringLen(ctx, (const char *)data, size)});
  size_t length;
  const uint8_t *out = content(ctx, bytes, &length);
  if (!is_well_formed(out, length)) fuzz_fail("half a pair is not written as U+FFFD");
  JS_FreeValue(ctx, bytes);
}

static void check_hash(JSContext *ctx, JSValueConst host, const uint8_t *data, size_t size)
{
  struct sha256_ctx hash;
  uint8_t digest[SHA256_DIGEST_SIZE];
  char hex[2 * SHA256_DIGEST_SIZE + 1];
  sha256_init(&hash);
  sha256_update(&hash, size, data);
  sha256_digest(&hash, sizeof digest, digest);
  for (size_t i = 0; i < sizeof digest; i++) sprintf(hex + 2 * i, "%02x", digest[i]);
  JSValue ours = fuzz_call(host, "sha256", 1, (JSValue[]){bytes_of(ctx, data, size)});
  const char *text = JS_ToCString(ctx, ours);
  if (text == NULL || strcmp(text, hex) != 0) fuzz_fail("two hashes");
  JS_FreeCString(ctx, text);
  JS_FreeValue(ctx, ours);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static const struct host_exports *const lists[] = {&bytes_exports, NULL};
  static JSValue host = NO_VALUE;
  JSContext *ctx = fuzz_engine();
  if (JS_IsUndefined(host)) host = fuzz_host(lists);
  check_text(ctx, host, data, size);
  check_halves(ctx, host, data, size);
  check_hash(ctx, host, data, size);
  fuzz_collect();
  return 0;
}
