// Small blocks of memory: pages of blocks of one size. The C library puts a word before each block and rounds up to 16 bytes, which would be a sixth of
// what an idle shim has on its heap: nearly all of its blocks are objects, properties and variables of up to 72 bytes. Called by heap.c.
#define _GNU_SOURCE
#include "pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  PAGE = 4096,
  PAGES = 8192, // address space that is set aside; what is beyond comes from the C library
  STEP = 16, // pages that become usable at once
  UNIT = 8,
  SMALLEST = 16,
  LARGEST = 72,
};

// At the beginning of each page. Places are offsets from there; 0 for none.
struct page {
  struct page *next, *previous; // of those of one size that have room
  uint16_t size, used;
  uint16_t first_free; // a free block has the place of the next one in its first bytes
  uint16_t fresh; // where the part begins that was never used
};

static uint8_t *region;
static bool has_failed;
static unsigned usable; // pages from the region's beginning
static uint64_t taken[PAGES / 64], dirty[PAGES / 64];
static struct page *with_room[LARGEST / UNIT + 1];

static bool has_bit(const uint64_t *bits, unsigned index)
{
  return bits[index / 64] >> index % 64 & 1;
}

static void set_bit(uint64_t *bits, unsigned index, bool value)
{
  uint64_t bit = (uint64_t)1 << index % 64;
  bits[index / 64] = value ? bits[index / 64] | bit : bits[index / 64] & ~bit;
}

bool pool_holds(const void *block)
{
  return region != NULL && (uintptr_t)block - (uintptr_t)region < (uintptr_t)PAGES * PAGE;
}

static struct page *page_of(const void *block)
{
  return (struct page *)((uintptr_t)block & ~(uintptr_t)(PAGE - 1));
}

static unsigned index_of(const struct page *page)
{
  return (unsigned)(((uintptr_t)page - (uintptr_t)region) / PAGE);
}

static bool set_aside(void)
{
  if (region != NULL || has_failed) return region != NULL;
  void *space = mmap(NULL, (size_t)PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  has_failed = space == MAP_FAILED; // a limit of the address space: the C library has to do
  if (has_failed) return false;
  madvise(space, (size_t)PAGES * PAGE, MADV_NOHUGEPAGE);
  region = space;
  return true;
}

// The lowest page that is not taken, so that the high ones get empty. Returns PAGES if there is none to be had.
static unsigned find_page(void)
{
  for (unsigned word = 0; word < (usable + 63) / 64; word++) {
    if (~taken[word] == 0) continue;
    unsigned index = word * 64 + (unsigned)__builtin_ctzll(~taken[word]);
    if (index < usable) return index;
  }
  if (usable == PAGES || mprotect(region + (size_t)usable * PAGE, (size_t)STEP * PAGE, PROT_READ | PROT_WRITE) < 0) return PAGES;
  usable += STEP;
  return usable - STEP;
}

static void link_page(struct page *page)
{
  struct page **first = &with_room[page->size / UNIT];
  page->previous = NULL;
  page->next = *first;
  if (page->next != NULL) page->next->previous = page;
  *first = page;
}

static void unlink_page(struct page *page)
{
  if (page->next != NULL) page->next->previous = page->previous;
  if (page->previous != NULL) page->previous->next = page->next;
  else with_room[page->size / UNIT] = page->next;
}

static bool is_full(const struct page *page)
{
  return page->first_free == 0 && page->fresh + page->size > PAGE;
}

static struct page *new_page(uint16_t size)
{
  if (!set_aside()) return NULL;
  unsigned index = find_page();
  if (index == PAGES) return NULL;
  set_bit(taken, index, true);
  set_bit(dirty, index, true);
  struct page *page = (struct page *)(region + (size_t)index * PAGE);
  *page = (struct page){.size = size, .fresh = sizeof *page};
  link_page(page);
  return page;
}

void *pool_new(size_t size)
{
  if (size > LARGEST) return NULL;
  if (size < SMALLEST) size = SMALLEST;
  uint16_t rounded = (uint16_t)((size + UNIT - 1) / UNIT * UNIT);
  struct page *page = with_room[rounded / UNIT];
  if (page == NULL && (page = new_page(rounded)) == NULL) return NULL;
  uint16_t place = page->first_free;
  uint8_t *block = (uint8_t *)page + (place != 0 ? place : page->fresh);
  if (place != 0) page->first_free = *(uint16_t *)block;
  else page->fresh += rounded;
  page->used++;
  if (is_full(page)) unlink_page(page);
  return block;
}

void pool_free(void *block)
{
  struct page *page = page_of(block);
  bool was_full = is_full(page);
  *(uint16_t *)block = page->first_free;
  page->first_free = (uint16_t)((uint8_t *)block - (uint8_t *)page);
  page->used--;
  if (page->used > 0) {
    if (was_full) link_page(page);
    return;
  }
  if (!was_full) unlink_page(page);
  set_bit(taken, index_of(page), false);
}

size_t pool_size(const void *block)
{
  return page_of(block)->size;
}

void pool_trim(void)
{
  uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE); // the kernel's pages may be larger
  for (unsigned first = 0; first < usable;) {
    unsigned end = first;
    while (end < usable && !has_bit(taken, end) && has_bit(dirty, end)) set_bit(dirty, end++, false);
    if (end == first) {
      first++;
      continue;
    }
    uintptr_t from = ((uintptr_t)region + (uintptr_t)first * PAGE + unit - 1) & ~(unit - 1);
    uintptr_t to = ((uintptr_t)region + (uintptr_t)end * PAGE) & ~(unit - 1);
    if (to > from) madvise((void *)from, to - from, MADV_DONTNEED);
    first = end;
  }
}
