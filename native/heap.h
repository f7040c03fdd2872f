// Where the engine has its memory from: heap.c.
#ifndef HEAP_H
#define HEAP_H

#include "quickjs.h"

extern const JSMallocFunctions heap_functions;
// Called after each allocation, if it is set.
extern void (*heap_allocated)(void);
// Gives the kernel back what is free.
void heap_trim(void);

#endif
