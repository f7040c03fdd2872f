// holdfast-layer: holdfast-layer unpack|copy|expand|diff|look|take|put|remove ARGUMENTS. What goes wrong is a line on stderr, and status 1.
#define _GNU_SOURCE
#include <stdarg.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer.h"

void fail(const char *format, ...)
{
  va_list args;
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fputc('\n', stderr);
  exit(1);
}

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
} verbs[] = {{"unpack", unpack}, {"copy", copy}, {"expand", expand}, {"diff", diff}, {"look", look}, {"take", take}, {"put", put}, {"remove", remove_trees}};

int main(int argc, char **argv)
{
  // Whoever wants what this makes is gone with our parent; and the daemon that comes then takes away what is half made.
  pid_t parent = getppid();
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent) return 1;
  umask(0);
  const char *verb = argc > 1 ? argv[1] : "";
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (strcmp(verb, verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
  fail("usage: holdfast-layer unpack|copy|expand|diff|look|take|put|remove ARGUMENTS");
}
