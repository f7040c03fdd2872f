// holdfast-layer: holdfast-layer unpack|copy|diff ARGUMENTS. What goes wrong is a line on stderr, and status 1.
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

int main(int argc, char **argv)
{
  umask(0);
  const char *verb = argc > 1 ? argv[1] : "";
  if (strcmp(verb, "unpack") == 0) return unpack(argc - 1, argv + 1);
  if (strcmp(verb, "copy") == 0) return copy(argc - 1, argv + 1);
  if (strcmp(verb, "diff") == 0) return diff(argc - 1, argv + 1);
  fail("usage: holdfast-layer unpack|copy|diff ARGUMENTS");
}
