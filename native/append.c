// Writing to the end of a regular file, for relay.c. What splice(2) moves is nowhere else in between, but it refuses to append; so the end is looked up, and
// written to, under a lock of goodwill.
#define _GNU_SOURCE
#include "append.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

enum { LOCK_TRIES = 64 };

// Whoever else of ours writes to the file waits for us, and we for them, but for nobody for long.
static bool lock_file(int fd, short type)
{
  struct flock whole = {.l_type = type, .l_whence = SEEK_SET};
  for (int i = 0; i < LOCK_TRIES; i++) {
    if (fcntl(fd, F_OFD_SETLK, &whole) == 0) return true;
    if (errno != EAGAIN && errno != EACCES) return false;
    sched_yield();
  }
  return false;
}

// With O_APPEND pwrite(2) would not write where it is told, and splice(2) nothing.
bool append_begin(int fd)
{
  struct stat status;
  if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) return false;
  int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && (!(flags & O_APPEND) || fcntl(fd, F_SETFL, flags & ~O_APPEND) == 0);
}

ssize_t append(int fd, ssize_t (*write_at)(void *context, loff_t *end), void *context)
{
  struct stat status;
  bool locked = lock_file(fd, F_WRLCK);
  ssize_t n = -1;
  if (fstat(fd, &status) == 0) {
    loff_t end = status.st_size;
    n = write_at(context, &end);
  }
  int error = errno;
  if (locked) lock_file(fd, F_UNLCK);
  errno = error;
  return n;
}
