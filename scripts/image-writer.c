// Writes compiled modules as native/image.c reads them. Part of bytecode.c, which includes it: what it reads is private to the engine.

// Everything written so far; texts and tables are found by their place in it.
static DynBuf image_bytes;
static struct image header;
static BCWriterState names; // gives the names their numbers

static uint32_t put(const void *bytes, size_t size, size_t alignment)
{
  while (image_bytes.size % alignment != 0) dbuf_putc(&image_bytes, 0);
  uint32_t place = (uint32_t)image_bytes.size;
  if (dbuf_put(&image_bytes, bytes, size) < 0) die("no memory", "image");
  return place;
}

static uint32_t number_of(JSAtom atom)
{
  uint32_t number;
  if (atom == JS_ATOM_NULL) return JS_ATOM_NULL;
  if (bc_atom_to_idx(&names, &number, atom) < 0) die("no memory", "names");
  return number;
}

static uint32_t put_text(const JSString *string)
{
  struct image_text text = {.length = string->len, .is_wide = string->is_wide_char};
  size_t size = (size_t)string->len << string->is_wide_char;
  uint32_t place = put(&text, sizeof text, _Alignof(struct image_text));
  put(string->u.str8, size, 1);
  header.text_bytes += (uint32_t)IMAGE_TEXT_SIZE(size);
  return place;
}

static uint32_t put_function(JSContext *ctx, const JSFunctionBytecode *b);

static struct image_constant constant_of(JSContext *ctx, JSValueConst value)
{
  double number;
  int64_t big;
  switch (JS_VALUE_GET_NORM_TAG(value)) {
  case JS_TAG_FUNCTION_BYTECODE:
    return (struct image_constant){IMAGE_FUNCTION, put_function(ctx, JS_VALUE_GET_PTR(value))};
  case JS_TAG_STRING:
    return (struct image_constant){IMAGE_STRING, put_text(JS_VALUE_GET_STRING(value))};
  case JS_TAG_INT:
    return (struct image_constant){IMAGE_INT, (uint32_t)JS_VALUE_GET_INT(value)};
  case JS_TAG_FLOAT64:
    number = JS_VALUE_GET_FLOAT64(value);
    return (struct image_constant){IMAGE_FLOAT, put(&number, sizeof number, 8)};
  case JS_TAG_SHORT_BIG_INT:
  case JS_TAG_BIG_INT:
    // One that is larger comes back as another.
    if (JS_ToBigInt64(ctx, &big, value) < 0) break;
    if (js_same_value(ctx, value, JS_NewBigInt64(ctx, big))) return (struct image_constant){IMAGE_BIG_INT, put(&big, sizeof big, 8)};
    if (js_same_value(ctx, value, JS_NewBigUint64(ctx, (uint64_t)big))) return (struct image_constant){IMAGE_BIG_UINT, put(&big, sizeof big, 8)};
  }
  die("a constant of a kind that the image has no place for", "a tagged template, or a number of more than 64 bits");
}

// The code with its names by their new numbers.
static uint32_t put_code(const uint8_t *code, int length)
{
  js_dbuf_init(names.ctx, &names.dbuf);
  if (JS_WriteFunctionBytecode(&names, code, length) < 0) die("no memory", "code");
  uint32_t place = put(names.dbuf.buf, names.dbuf.size, 1);
  dbuf_free(&names.dbuf);
  return place;
}

static uint32_t put_closure(const JSFunctionBytecode *b)
{
  JSClosureVar *variables = calloc((size_t)b->closure_var_count + 1, sizeof *variables);
  for (int i = 0; i < b->closure_var_count; i++) {
    variables[i] = b->closure_var[i];
    variables[i].var_name = number_of(b->closure_var[i].var_name);
  }
  uint32_t place = put(variables, (size_t)b->closure_var_count * sizeof *variables, _Alignof(JSClosureVar));
  free(variables);
  return place;
}

static uint32_t put_function(JSContext *ctx, const JSFunctionBytecode *b)
{
  header.function_bytes += (uint32_t)(sizeof *b + (size_t)b->cpool_count * sizeof *b->cpool);
  if (!b->has_debug) die("a function without lines", "");
  struct image_function f = {
      .mode = b->js_mode,
      .kind = b->func_kind,
      .arguments = b->arg_count,
      .variables = b->var_count,
      .defined_arguments = b->defined_arg_count,
      .stack = b->stack_size,
      .name = number_of(b->func_name),
      .file = number_of(b->debug.filename),
      .code_length = (uint32_t)b->byte_code_len,
      .closure_count = (uint32_t)b->closure_var_count,
      .lines_length = (uint32_t)b->debug.pc2line_len,
      .constant_count = (uint32_t)b->cpool_count,
  };
  unsigned bit = 0;
#define GET(name) f.flags |= (uint16_t)(b->name << bit++);
  IMAGE_FLAGS(GET)
#undef GET
  struct image_constant *constants = calloc((size_t)b->cpool_count + 1, sizeof *constants);
  for (int i = 0; i < b->cpool_count; i++) constants[i] = constant_of(ctx, b->cpool[i]);
  f.constants = put(constants, (size_t)b->cpool_count * sizeof *constants, _Alignof(struct image_constant));
  free(constants);
  f.closure = put_closure(b);
  f.code = put_code(b->byte_code_buf, b->byte_code_len);
  f.lines = put(b->debug.pc2line_buf, (size_t)b->debug.pc2line_len, 1);
  return put(&f, sizeof f, _Alignof(struct image_function));
}

static struct image_part part_of(JSContext *ctx, const JSModuleDef *module)
{
  struct image_part part = {
      .name = number_of(module->module_name),
      .request_count = (uint32_t)module->req_module_entries_count,
      .import_count = (uint32_t)module->import_entries_count,
      .export_count = (uint32_t)module->export_entries_count,
  };
  if (module->has_tla || module->star_export_entries_count != 0) die("a module waits at its top level, or passes on all of another", "");
  part.function = put_function(ctx, JS_VALUE_GET_PTR(module->func_obj));
  part.requests = put(NULL, 0, 4);
  for (uint32_t i = 0; i < part.request_count; i++) {
    uint32_t name = number_of(module->req_module_entries[i].module_name);
    put(&name, sizeof name, 4);
  }
  part.imports = put(NULL, 0, 4);
  for (uint32_t i = 0; i < part.import_count; i++) {
    const JSImportEntry *from = &module->import_entries[i];
    struct image_import entry = {(uint32_t)from->var_idx, number_of(from->import_name), (uint32_t)from->req_module_idx};
    put(&entry, sizeof entry, 4);
  }
  part.exports = put(NULL, 0, 4);
  for (uint32_t i = 0; i < part.export_count; i++) {
    const JSExportEntry *from = &module->export_entries[i];
    bool is_local = from->export_type == JS_EXPORT_TYPE_LOCAL;
    struct image_export entry = {
        .variable = is_local ? (uint32_t)from->u.local.var_idx : 0,
        .name = number_of(from->export_name),
        .local_name = is_local ? JS_ATOM_NULL : number_of(from->local_name),
        .request = is_local ? (uint32_t)NO_REQUEST : (uint32_t)from->u.req_module_idx,
    };
    put(&entry, sizeof entry, 4);
  }
  return part;
}

// Lays `modules` out, the program first. The engine keeps the memory.
static const DynBuf *write_image(JSContext *ctx, JSModuleDef *const *modules, uint32_t count)
{
  names = (BCWriterState){.ctx = ctx, .first_atom = JS_ATOM_END};
  js_dbuf_init(ctx, &image_bytes);
  put(&header, sizeof header, 8);
  struct image_part *parts = calloc(count, sizeof *parts);
  for (uint32_t i = 0; i < count; i++) parts[i] = part_of(ctx, modules[i]);
  header.part_count = count;
  header.parts = put(parts, count * sizeof *parts, 8);
  header.name_count = (uint32_t)names.idx_to_atom_count;
  header.names = put(NULL, 0, 4);
  for (uint32_t i = 0; i < header.name_count; i++) put_text(ctx->rt->atom_array[names.idx_to_atom[i]]);
  header.size = (uint32_t)image_bytes.size;
  memcpy(image_bytes.buf, &header, sizeof header);
  return &image_bytes;
}
