// The engine's memory: small blocks from the pools, larger ones from the C library. What lies in the image and with its names is never given back.
#include "heap.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"
#include "pool.h"

void (*heap_allocated)(void);

#ifdef HOST_SANITIZE
// AddressSanitizer has to see each block.
enum { HAS_POOLS = 0 };
#else
enum { HAS_POOLS = 1 };
#endif

static size_t size_of(void *block)
{
  if (image_holds(block)) return 0;
  return pool_holds(block) ? pool_size(block) : malloc_usable_size(block);
}

static size_t block_size(const void *block)
{
  return size_of((void *)block);
}

static void *new_block(JSMallocState *state, size_t size)
{
  void *block = HAS_POOLS ? pool_new(size) : NULL;
  if (block == NULL) block = malloc(size);
  if (block == NULL) return NULL;
  state->malloc_count++;
  state->malloc_size += size_of(block);
  if (heap_allocated != NULL) heap_allocated();
  return block;
}

static void free_block(JSMallocState *state, void *block)
{
  if (block == NULL || image_holds(block)) return;
  state->malloc_count--;
  state->malloc_size -= size_of(block);
  if (pool_holds(block)) pool_free(block);
  else free(block);
}

// From a pool, or into one.
static void *move_block(JSMallocState *state, void *block, size_t size)
{
  size_t before = size_of(block);
  void *moved = new_block(state, size);
  if (moved == NULL) return NULL;
  memcpy(moved, block, size < before ? size : before);
  free_block(state, block);
  return moved;
}

static void *resize_block(JSMallocState *state, void *block, size_t size)
{
  if (block == NULL) return size ? new_block(state, size) : NULL;
  if (size == 0) {
    free_block(state, block);
    return NULL;
  }
  if (image_holds(block)) abort();
  if (pool_holds(block)) return size == pool_size(block) ? block : move_block(state, block, size);
  size_t before = malloc_usable_size(block);
  void *moved = realloc(block, size);
  if (moved != NULL) state->malloc_size += malloc_usable_size(moved) - before;
  return moved;
}

void heap_trim(void)
{
  malloc_trim(0);
  pool_trim();
}

const JSMallocFunctions heap_functions = {new_block, free_block, resize_block, block_size};
