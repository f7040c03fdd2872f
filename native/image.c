// The engine, with a reader of programs that lie in the read-only image (image.h). The engine's own reader copies everything but the code itself to the
// heap: tables of variables and lines, each function's in blocks of its own, were a third of what a shim kept there. Called by engine.c.
#include <quickjs.c>
// The engine forbids these names from here on.
#undef malloc
#undef free
#undef realloc

#include "image.h"

_Static_assert(sizeof(JSClosureVar) == 8 && _Alignof(JSString) == 4, "the image's tables are the engine's");

// Names are never given back: functions that come and go count their uses down, and never up.
enum { HOLD = 1 << 28 };

static const uint8_t *start;
static const struct image *image;
static uint8_t *block; // the first part's functions, and behind them the texts
static uint8_t *next_function, *next_text;

bool image_holds(const void *pointer)
{
  uintptr_t address = (uintptr_t)pointer;
  return image != NULL && (address - (uintptr_t)start < image->size || address - (uintptr_t)block < image->function_bytes + image->text_bytes);
}

static const void *at(uint32_t place)
{
  return start + place;
}

static void *take(uint8_t **next, size_t size, const uint8_t *end)
{
  void *taken = *next;
  if (size > (size_t)(end - *next)) abort();
  *next += size;
  return taken;
}

static size_t text_bytes(const struct image_text *text)
{
  return (size_t)text->length << text->is_wide;
}

static JSString *read_text(const struct image_text *text)
{
  const uint8_t *end = block + image->function_bytes + image->text_bytes;
  JSString *string = take(&next_text, IMAGE_TEXT_SIZE(text_bytes(text)), end);
  memset(string, 0, sizeof *string);
  string->header.ref_count = 1;
  string->is_wide_char = text->is_wide;
  string->len = text->length;
  memcpy(string->u.str8, text + 1, text_bytes(text));
  string->u.str8[text_bytes(text)] = '\0';
  return string;
}

static int read_names(JSContext *ctx)
{
  const struct image_text *text = at(image->names);
  for (uint32_t i = 0; i < image->name_count; i++) {
    JSAtom name = JS_NewAtomStr(ctx, read_text(text));
    if (name == JS_ATOM_NULL) return -1;
    if (name != JS_ATOM_END + i) abort(); // the compiler's engine was another one
    ctx->rt->atom_array[name]->header.ref_count += HOLD;
    text = (const void *)((const uint8_t *)(text + 1) + ((text_bytes(text) + 3) & ~(size_t)3));
  }
  return 0;
}

static JSValue read_function(JSContext *ctx, uint32_t place);

static JSValue read_constant(JSContext *ctx, const struct image_constant *constant)
{
  double number;
  int64_t big;
  switch ((enum image_kind)constant->kind) {
  case IMAGE_FUNCTION:
    return read_function(ctx, constant->value);
  case IMAGE_STRING:
    return JS_MKPTR(JS_TAG_STRING, read_text(at(constant->value)));
  case IMAGE_INT:
    return JS_NewInt32(ctx, (int32_t)constant->value);
  case IMAGE_FLOAT:
    memcpy(&number, at(constant->value), sizeof number);
    return __JS_NewFloat64(ctx, number);
  case IMAGE_BIG_INT:
    memcpy(&big, at(constant->value), sizeof big);
    return JS_NewBigInt64(ctx, big);
  case IMAGE_BIG_UINT:
    memcpy(&big, at(constant->value), sizeof big);
    return JS_NewBigUint64(ctx, (uint64_t)big);
  }
  abort();
}

static JSValue read_function(JSContext *ctx, uint32_t place)
{
  const struct image_function *f = at(place);
  JSFunctionBytecode *b = take(&next_function, sizeof *b + f->constant_count * sizeof *b->cpool, block + image->function_bytes);
  memset(b, 0, sizeof *b);
  b->header.ref_count = 1;
  b->js_mode = f->mode;
  b->func_kind = f->kind;
  unsigned bit = 0;
#define SET(name) b->name = f->flags >> bit++ & 1;
  IMAGE_FLAGS(SET)
#undef SET
  b->read_only_bytecode = b->has_debug = true;
  b->byte_code_buf = (uint8_t *)at(f->code);
  b->byte_code_len = (int)f->code_length;
  b->func_name = f->name;
  if (f->closure_count != 0) b->closure_var = (JSClosureVar *)at(f->closure);
  b->arg_count = f->arguments;
  b->var_count = f->variables;
  b->defined_arg_count = f->defined_arguments;
  b->stack_size = f->stack;
  b->closure_var_count = (int)f->closure_count;
  b->debug.filename = f->file;
  b->debug.pc2line_len = (int)f->lines_length;
  if (f->lines_length != 0) b->debug.pc2line_buf = (uint8_t *)at(f->lines);
  b->realm = JS_DupContext(ctx);
  add_gc_object(ctx->rt, &b->header, JS_GC_OBJ_TYPE_FUNCTION_BYTECODE);
  JSValue function = JS_MKPTR(JS_TAG_FUNCTION_BYTECODE, b);
  if (f->constant_count != 0) b->cpool = (JSValue *)(b + 1);
  const struct image_constant *constants = at(f->constants);
  for (uint32_t i = 0; i < f->constant_count; i++) {
    b->cpool[i] = read_constant(ctx, &constants[i]);
    if (JS_IsException(b->cpool[i])) {
      JS_FreeValue(ctx, function);
      return JS_EXCEPTION;
    }
    b->cpool_count++;
  }
  return function;
}

// A module's tables, in the engine's form, which it keeps while the module lives.
static int read_tables(JSContext *ctx, JSModuleDef *module, const struct image_part *part)
{
  const uint32_t *requests = at(part->requests);
  const struct image_import *imports = at(part->imports);
  const struct image_export *exports = at(part->exports);
  module->req_module_entries = js_mallocz(ctx, (part->request_count + 1) * sizeof module->req_module_entries[0]);
  module->import_entries = js_mallocz(ctx, (part->import_count + 1) * sizeof module->import_entries[0]);
  module->export_entries = js_mallocz(ctx, (part->export_count + 1) * sizeof module->export_entries[0]);
  if (module->req_module_entries == NULL || module->import_entries == NULL || module->export_entries == NULL) return -1;
  for (uint32_t i = 0; i < part->request_count; i++) module->req_module_entries[i].module_name = requests[i];
  for (uint32_t i = 0; i < part->import_count; i++) {
    const struct image_import *from = &imports[i];
    module->import_entries[i] = (JSImportEntry){.var_idx = (int)from->variable, .import_name = from->name, .req_module_idx = (int)from->request};
  }
  for (uint32_t i = 0; i < part->export_count; i++) {
    const struct image_export *from = &exports[i];
    JSExportEntry *entry = &module->export_entries[i];
    *entry = (JSExportEntry){.export_name = from->name, .local_name = from->local_name};
    entry->export_type = from->request == NO_REQUEST ? JS_EXPORT_TYPE_LOCAL : JS_EXPORT_TYPE_INDIRECT;
    if (from->request == NO_REQUEST) entry->u.local.var_idx = (int)from->variable;
    else entry->u.req_module_idx = (int)from->request;
  }
  module->req_module_entries_count = module->req_module_entries_size = (int)part->request_count;
  module->import_entries_count = module->import_entries_size = (int)part->import_count;
  module->export_entries_count = module->export_entries_size = (int)part->export_count;
  return 0;
}

static JSValue read_part(JSContext *ctx, const struct image_part *part)
{
  JSModuleDef *module = js_new_module_def(ctx, part->name);
  if (module == NULL) return JS_EXCEPTION;
  if (read_tables(ctx, module, part) == 0) module->func_obj = read_function(ctx, part->function);
  if (!JS_IsUndefined(module->func_obj) && !JS_IsException(module->func_obj)) return JS_NewModuleValue(ctx, module);
  js_free_module_def(ctx, module);
  return JS_EXCEPTION;
}

JSValue image_read(JSContext *ctx, const uint8_t *bytes)
{
  start = bytes;
  image = at(0);
  block = next_function = malloc(image->function_bytes + image->text_bytes);
  if (block == NULL) return JS_ThrowOutOfMemory(ctx);
  next_text = block + image->function_bytes;
  if (read_names(ctx) < 0) return JS_EXCEPTION;
  return read_part(ctx, at(image->parts));
}
