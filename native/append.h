// Writing to the end of a regular file: append.c.
#ifndef APPEND_H
#define APPEND_H

#include <stdbool.h>
#include <sys/types.h>

// Whether `fd` is a regular file, which then is written to by append() alone.
bool append_begin(int fd);
// Calls `write_at` with where the file ends, and returns what that returns, with its errno; -1 if nobody can tell.
ssize_t append(int fd, ssize_t (*write_at)(void *context, loff_t *end), void *context);

#endif
