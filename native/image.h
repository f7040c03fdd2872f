// The compiled program as it lies in the read-only image: written by scripts/image-writer.c on the build machine, read by image.c. Places are offsets from
// the image's beginning; names are the numbers that the engine gives them, JS_ATOM_END and on for those of the image.
#ifndef IMAGE_H
#define IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "quickjs.h"

struct image {
  uint32_t size;
  uint32_t function_bytes, text_bytes; // what the first part's functions take on the heap, and all names with its strings
  uint32_t names, name_count; // image_text, one behind the other
  uint32_t parts, part_count; // image_part[]; the first is the program
};

// Followed by its characters; the next one begins at the next multiple of 4.
struct image_text {
  uint32_t length : 31, is_wide : 1;
};
// What it takes on the heap.
#define IMAGE_TEXT_SIZE(bytes) ((sizeof(JSString) + (bytes) + 1 + 3) & ~(size_t)3)

struct image_part {
  uint32_t name;
  uint32_t requests, request_count; // names of modules that it imports from
  uint32_t imports, import_count; // image_import[]
  uint32_t exports, export_count; // image_export[]
  uint32_t function;
};

struct image_import {
  uint32_t variable, name, request;
};

// `request` is that of the module whose `local_name` is passed on, or NO_REQUEST for a variable of the module itself.
enum { NO_REQUEST = ~0 };
struct image_export {
  uint32_t variable, name, local_name, request;
};

// The engine's table of local variables is left out: it has nothing but the names that the bundler gave them, for messages.
struct image_function {
  uint16_t flags;
  uint8_t mode, kind;
  uint16_t arguments, variables, defined_arguments, stack;
  uint32_t name, file;
  uint32_t code, code_length;
  uint32_t closure, closure_count; // JSClosureVar[]
  uint32_t lines, lines_length;
  uint32_t constants, constant_count; // image_constant[]
};

// The one-bit fields of the engine's function, from bit 0 of `flags`.
#define IMAGE_FLAGS(flag)                                                                                                                            \
  flag(has_prototype) flag(has_simple_parameter_list) flag(is_derived_class_constructor) flag(need_home_object) flag(new_target_allowed)             \
      flag(super_call_allowed) flag(super_allowed) flag(arguments_allowed) flag(is_direct_or_indirect_eval)

enum image_kind { IMAGE_FUNCTION, IMAGE_STRING, IMAGE_INT, IMAGE_FLOAT, IMAGE_BIG_INT, IMAGE_BIG_UINT };
// `value` is an int32, or the place of what does not fit: an image_function, image_text, double or int64.
struct image_constant {
  uint32_t kind, value;
};

// Reads the names and the first part. It must come before anything else makes names. Returns the module, or an exception.
JSValue image_read(JSContext *context, const uint8_t *image);

// Whether a block is the image's or was made with its names: it is never freed.
bool image_holds(const void *block);

#endif
