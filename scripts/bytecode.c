// The compiler from one JavaScript module to bytecode, run by scripts/build.ts; not part of the host.
//   compile OUTPUT MODULE MAP [regexps]
// Line numbers in the bytecode are those of the TypeScript sources, not of the bundle: MAP lists where each place of the bundle comes from.
//   sources N        then N lines, one path each
//   places M         then M lines "line column source source-line", sorted, all counted from 0
// It includes the engine's source, because the tables to rewrite are private to it.
#include "../native/image.c"
#include "../native/heap.c"
#include "../native/pool.c"

struct place {
  int line, column, source, source_line;
};
static struct place *places;
static int place_count, source_count;
static JSAtom *sources;

static _Noreturn void die(const char *what, const char *name)
{
  fprintf(stderr, "compile: %s: %s\n", what, name);
  exit(1);
}

#include "image-writer.c"

static void read_map(JSContext *ctx, const char *path)
{
  char line[4096];
  FILE *file = fopen(path, "r");
  if (file == NULL || fscanf(file, "sources %d\n", &source_count) != 1) die("cannot read the map", path);
  sources = calloc((size_t)source_count + 1, sizeof *sources);
  for (int i = 0; i < source_count; i++) {
    if (fgets(line, sizeof line, file) == NULL) die("the map ends early", path);
    line[strcspn(line, "\n")] = '\0';
    sources[i] = JS_NewAtom(ctx, line);
  }
  if (fscanf(file, "places %d\n", &place_count) != 1) die("the map has no places", path);
  places = calloc((size_t)place_count + 1, sizeof *places);
  for (int i = 0; i < place_count; i++) {
    struct place *p = &places[i];
    if (fscanf(file, "%d %d %d %d\n", &p->line, &p->column, &p->source, &p->source_line) != 4) die("the map ends early", path);
    if (p->source < 0 || p->source >= source_count) die("the map names a source that it does not list", path);
  }
  fclose(file);
}

// The last place at or before a position of the bundle, on the same line; null if there is none.
static const struct place *find_place(int line, int column)
{
  int low = 0, high = place_count;
  while (low < high) {
    int middle = (low + high) / 2;
    const struct place *p = &places[middle];
    if (p->line < line || (p->line == line && p->column <= column)) low = middle + 1;
    else high = middle;
  }
  return low > 0 && places[low - 1].line == line ? &places[low - 1] : NULL;
}

static void put_entry(DynBuf *out, int pc, int line)
{
  if (line >= PC2LINE_BASE && line < PC2LINE_BASE + PC2LINE_RANGE && pc <= PC2LINE_DIFF_PC_MAX) {
    dbuf_putc(out, (uint8_t)(line - PC2LINE_BASE + pc * PC2LINE_RANGE + PC2LINE_OP_FIRST));
  } else {
    dbuf_putc(out, 0);
    dbuf_put_leb128(out, (uint32_t)pc);
    dbuf_put_sleb128(out, line);
  }
  dbuf_put_sleb128(out, 0); // columns are left out: they would double the table, which lives on the heap of every shim
}

// Rewrites the table from program counters to lines, in the encoding that find_line_num() reads.
static void translate_lines(JSContext *ctx, JSFunctionBytecode *b)
{
  const uint8_t *p = b->debug.pc2line_buf, *end = p + b->debug.pc2line_len;
  uint32_t value;
  int line, column, change;
  if (!b->has_debug || p == NULL) return;
  p += get_leb128(&value, p, end);
  line = (int)value;
  p += get_leb128(&value, p, end);
  column = (int)value;
  const struct place *start = find_place(line, column);
  if (start == NULL) return;
  DynBuf out;
  js_dbuf_init(ctx, &out);
  dbuf_put_leb128(&out, (uint32_t)start->source_line);
  dbuf_put_leb128(&out, 0);
  int pc = 0, last_pc = 0, last_line = start->source_line;
  while (p < end) {
    unsigned op = *p++;
    if (op == 0) {
      p += get_leb128(&value, p, end);
      pc += (int)value;
      p += get_sleb128(&change, p, end);
      line += change;
    } else {
      op -= PC2LINE_OP_FIRST;
      pc += (int)(op / PC2LINE_RANGE);
      line += (int)(op % PC2LINE_RANGE) + PC2LINE_BASE;
    }
    p += get_sleb128(&change, p, end);
    column += change;
    const struct place *here = find_place(line, column);
    // A function has one file name; code inlined into it from another file counts as the place around it.
    if (here == NULL || here->source != start->source || here->source_line == last_line) continue;
    put_entry(&out, pc - last_pc, here->source_line - last_line);
    last_pc = pc;
    last_line = here->source_line;
  }
  if (dbuf_error(&out)) die("no memory", "lines");
  js_free(ctx, b->debug.pc2line_buf);
  b->debug.pc2line_buf = out.buf;
  b->debug.pc2line_len = (int)out.size;
  JS_FreeAtom(ctx, b->debug.filename);
  b->debug.filename = JS_DupAtom(ctx, sources[start->source]);
}

static bool may_have_regexps;

// The shim's host has no regular expressions. Ours must not use them; a package may, in code that we never call.
static void refuse_regexps(JSContext *ctx, const JSFunctionBytecode *b)
{
  const char *file = JS_AtomToCString(ctx, b->debug.filename);
  for (int at = 0; at < b->byte_code_len; at += short_opcode_info(b->byte_code_buf[at]).size) {
    if (b->byte_code_buf[at] == OP_regexp && strstr(file, "node_modules/") == NULL) die("a regular expression, which the host lacks", file);
  }
  JS_FreeCString(ctx, file);
}

static void translate_function(JSContext *ctx, JSValueConst value)
{
  if (JS_VALUE_GET_TAG(value) != JS_TAG_FUNCTION_BYTECODE) return;
  JSFunctionBytecode *b = JS_VALUE_GET_PTR(value);
  translate_lines(ctx, b);
  if (!may_have_regexps) refuse_regexps(ctx, b);
  for (int i = 0; i < b->cpool_count; i++) translate_function(ctx, b->cpool[i]);
}

// Imports are resolved at run time; any name will do here.
static int never_filled(JSContext *ctx, JSModuleDef *module)
{
  (void)ctx;
  (void)module;
  return -1;
}

static JSModuleDef *load_nothing(JSContext *ctx, const char *name, void *opaque)
{
  (void)opaque;
  return JS_NewCModule(ctx, name, never_filled);
}

static char *read_module(const char *path, size_t *length)
{
  FILE *file = fopen(path, "r");
  if (file == NULL || fseek(file, 0, SEEK_END) < 0) die("cannot open", path);
  long size = ftell(file);
  char *text = size < 0 ? NULL : malloc((size_t)size + 1);
  rewind(file);
  if (text == NULL || fread(text, 1, (size_t)size, file) != (size_t)size) die("cannot read", path);
  text[size] = '\0'; // JS_Eval wants it
  fclose(file);
  *length = (size_t)size;
  return text;
}

// Bytecode runs from the read-only image only if its names get the numbers that the compiler gave them, in order, from JS_ATOM_END on. A
// fresh context has made one name of its own by then. The module's name is the first of its names, so it is called like that one.
static const char *module_name(JSRuntime *rt, JSContext *raw)
{
  if (rt->atom_count == JS_ATOM_END) return "program";
  if (rt->atom_count != JS_ATOM_END + 1) die("a fresh context has several names of its own", "bytecode cannot stay in the image");
  return JS_AtomToCString(raw, JS_ATOM_END);
}

// Reads the image as the host does, which makes sure of the names' numbers.
static void check(const uint8_t *bytes)
{
  JSRuntime *rt = JS_NewRuntime2(&heap_functions, NULL);
  JSContext *ctx = JS_NewContextRaw(rt);
  JSValue program = image_read(ctx, bytes);
  if (JS_VALUE_GET_TAG(program) != JS_TAG_MODULE) die("the image cannot be read back", "");
}

static JSModuleDef *compile(JSContext *ctx, const char *name, const char *path, const char *map)
{
  size_t length;
  char *text = read_module(path, &length);
  JSValue module = JS_Eval(ctx, text, length, name, JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY);
  if (JS_IsException(module)) {
    const char *message = JS_ToCString(ctx, JS_GetException(ctx));
    die(path, message ? message : "unknown error");
  }
  read_map(ctx, map);
  JSModuleDef *compiled = JS_VALUE_GET_PTR(module);
  translate_function(ctx, compiled->func_obj);
  return compiled;
}

int main(int argc, char **argv)
{
  if (argc != 4 && argc != 5) die("usage", "compile OUTPUT MODULE MAP [regexps]");
  may_have_regexps = argc == 5;
  JSRuntime *rt = JS_NewRuntime();
  JS_SetStripInfo(rt, JS_STRIP_SOURCE);
  JS_SetModuleLoaderFunc(rt, NULL, load_nothing, NULL);
  JSContext *ctx = JS_NewContextRaw(rt);
  const char *name = module_name(rt, ctx);
  JS_AddIntrinsicBaseObjects(ctx);
  JS_AddIntrinsicEval(ctx);
  JS_AddIntrinsicRegExp(ctx);
  JSModuleDef *program = compile(ctx, name, argv[2], argv[3]);
  const DynBuf *image = write_image(ctx, &program, 1);
  check(image->buf);
  FILE *out = fopen(argv[1], "w");
  if (out == NULL || fwrite(image->buf, 1, image->size, out) != image->size || fclose(out) != 0) die("cannot write", argv[1]);
  return 0;
}
