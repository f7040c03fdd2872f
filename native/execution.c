// See execution.h.
#define _GNU_SOURCE
#include "execution.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "keeper.h"

// In the environment of a program that goes on: keeper or not, and the descriptors.
#define RESUME "HOLDFAST_RESUME"

static char *word;
static char **arguments;

void execution_arguments(char **argv, char *last)
{
  arguments = argv;
  word = last;
}

void show_as_keeper(bool yes)
{
  static const char name[] = "holdfast-keeper";
  static char first[32 << 10];
  static size_t length;
  prctl(PR_SET_NAME, yes ? name : "containerd-shim");
  if (word == NULL) return;
  // The arguments lie one behind the other, the word last, and the environment behind them.
  char *area = arguments[0], *end = word + strlen(word) + 1;
  for (char **entry = environ; *entry != NULL; entry++) {
    if (*entry == end) end += strlen(end) + 1;
  }
  size_t size = (size_t)(end - area);
  if (length == 0 && size >= sizeof name && size <= sizeof first) memcpy(first, area, length = size);
  if (length == 0) return;
  if (!yes) memcpy(area, first, length);
  else memcpy(memset(area, 0, length), name, sizeof name);
}

bool execution_is_resumed(void)
{
  return getenv(RESUME) != NULL;
}

// What a program is told of by its environment must not reach the programs that it runs.
bool execution_take(char *kind)
{
  const char *text = getenv(RESUME);
  int fds[6];
  if (sscanf(text, "%7[a-z]:%d:%d:%d:%d:%d:%d", kind, &fds[0], &fds[1], &fds[2], &fds[3], &fds[4], &fds[5]) != 7) return false;
  unsetenv(RESUME);
  keeper.state = fds[0];
  keeper.page = fds[1];
  keeper.poke = fds[2];
  keeper.fallback = fds[3];
  return true;
}

int execute(int program, const char *kind)
{
  char text[128], path[32];
  snprintf(text, sizeof text, "%s:%d:%d:%d:%d:%d:%d", kind, keeper.state, keeper.page, keeper.poke, keeper.program, 0, 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", program);
  if (setenv(RESUME, text, 1) < 0) return errno;
  show_as_keeper(false);
  // Everything stays open over the execution, and is close-on-exec again on the other side.
  for (int fd = 3, misses = 0; misses < 4096; fd++) {
    int flags = fcntl(fd, F_GETFD);
    misses = flags < 0 ? misses + 1 : 0;
    if (flags > 0) fcntl(fd, F_SETFD, 0);
  }
  execve(path, arguments, environ);
  int error = errno;
  close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
  unsetenv(RESUME);
  show_as_keeper(true);
  return error;
}
