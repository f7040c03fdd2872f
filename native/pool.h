// Small blocks of memory without a word before each: pool.c.
#ifndef POOL_H
#define POOL_H

#include <stdbool.h>
#include <stddef.h>

// A block of at least `size` bytes, aligned to 8; null if it is too large for a pool, or there is no room.
void *pool_new(size_t size);
bool pool_holds(const void *block);
// Takes back what pool_new() gave.
void pool_free(void *block);
// How many bytes may be used of it.
size_t pool_size(const void *block);
// Gives pages that hold nothing back to the kernel.
void pool_trim(void);

#endif
