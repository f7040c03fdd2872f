// The sockets of a process that will answer nobody any more. Called by keeper.c.
#define _GNU_SOURCE
#include "sockets.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

// An O_PATH descriptor of what a socket is bound to: the kernel's header of it does not go with the C library's.
#ifndef SIOCUNIXFILE
#define SIOCUNIXFILE (SIOCPROTOPRIVATE + 0)
#endif

// Whether the socket is still what stands at its name: one that was leaving has given it up, and another may have it. The socket's inode is its own as long
// as it is open. Without privilege nobody can tell.
static bool has_name(int fd, const char *path)
{
  struct stat bound, named;
  int file = ioctl(fd, SIOCUNIXFILE);
  if (file < 0) return errno != ENOENT;
  bool is_known = fstat(file, &bound) == 0 && lstat(path, &named) == 0;
  close(file);
  return is_known && bound.st_ino == named.st_ino && bound.st_dev == named.st_dev;
}

// Where it listens: whoever comes next must find the place free. Names below /proc are of descriptors that may be others' by now.
static void remove_name(int fd)
{
  int listens = 0;
  socklen_t size = sizeof listens;
  struct sockaddr_un address = {0};
  socklen_t length = sizeof address - 1;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens) return;
  if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 || address.sun_family != AF_UNIX) return;
  if (address.sun_path[0] == '/' && strncmp(address.sun_path, "/proc/", 6) != 0 && has_name(fd, address.sun_path)) unlink(address.sun_path);
}

void close_sockets(void)
{
  struct stat status;
  for (int fd = 0, misses = 0; misses < 4096; fd++) {
    if (fstat(fd, &status) < 0) {
      misses++;
      continue;
    }
    misses = 0;
    if (!S_ISSOCK(status.st_mode)) continue;
    remove_name(fd);
    close(fd);
  }
}
