// The engine's memory: the C library's, but for what lies in the image and with its names, which is never given back.
#include "heap.h"

#include <malloc.h>
#include <stdlib.h>

#include "image.h"

void (*heap_allocated)(void);

static size_t block_size(const void *block)
{
  return image_holds(block) ? 0 : malloc_usable_size((void *)block);
}

static void *new_block(JSMallocState *state, size_t size)
{
  void *block = malloc(size);
  if (block == NULL) return NULL;
  state->malloc_count++;
  state->malloc_size += malloc_usable_size(block);
  if (heap_allocated != NULL) heap_allocated();
  return block;
}

static void free_block(JSMallocState *state, void *block)
{
  if (block == NULL || image_holds(block)) return;
  state->malloc_count--;
  state->malloc_size -= malloc_usable_size(block);
  free(block);
}

static void *resize_block(JSMallocState *state, void *block, size_t size)
{
  if (block == NULL) return size ? new_block(state, size) : NULL;
  if (size == 0) {
    free_block(state, block);
    return NULL;
  }
  if (image_holds(block)) abort();
  size_t before = malloc_usable_size(block);
  void *moved = realloc(block, size);
  if (moved != NULL) state->malloc_size += malloc_usable_size(moved) - before;
  return moved;
}

const JSMallocFunctions heap_functions = {new_block, free_block, resize_block, block_size};
