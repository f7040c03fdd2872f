// Gives pages back that a process in its rest does not need: see pages.h.
#define _GNU_SOURCE
#include "pages.h"

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef HOST_SANITIZE
// Its stacks and its code are AddressSanitizer's as well.
void pages_forget_program(void) {}
void pages_forget_stack(void) {}
#else

// Given by the linker.
extern const ElfW(Ehdr) __ehdr_start;

// How far below the caller the stack may have been used, and what is left for what the caller still calls.
enum { STACK_USED = 256 << 10, STACK_LEFT = 4 << 10 };

enum { SEGMENTS = 4 };

static void forget(uintptr_t from, uintptr_t to)
{
  uintptr_t unit = (uintptr_t)sysconf(_SC_PAGESIZE);
  from = (from + unit - 1) & ~(unit - 1);
  to &= ~(unit - 1);
  if (to > from) madvise((void *)from, to - from, MADV_DONTNEED);
}

void pages_forget_program(void)
{
  uintptr_t from[SEGMENTS], to[SEGMENTS];
  int count = 0;
  const ElfW(Phdr) *segments = (const void *)((const char *)&__ehdr_start + __ehdr_start.e_phoff);
  for (int i = 0; i < __ehdr_start.e_phnum && count < SEGMENTS; i++) {
    // What is written to, by the start alone too, is in segments that are writable in the program's file.
    if (segments[i].p_type != PT_LOAD || segments[i].p_flags & PF_W) continue;
    from[count] = (uintptr_t)&__ehdr_start + segments[i].p_vaddr;
    to[count] = from[count] + segments[i].p_memsz;
    count++;
  }
  // The table of segments is in one of them.
  for (int i = 0; i < count; i++) forget(from[i], to[i]);
}

void pages_forget_stack(void)
{
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  // Where nothing was mapped, because the stack was never that deep, nothing happens.
  forget(here - STACK_USED, here - STACK_LEFT);
}
#endif
