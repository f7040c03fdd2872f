// expand BYTES:RATIO DIRECTORY < packed > plain
// Undoes the compression of an archive as a whole, in bounds, with an empty directory as its root and no privileges: what comes in is hostile.
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"

static void write_all(const char *bytes, size_t count)
{
  while (count > 0) {
    ssize_t done = write(STDOUT_FILENO, bytes, count);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("write: %s", strerror(errno));
    bytes += done;
    count -= (size_t)done;
  }
}

int expand(int argc, char **argv)
{
  struct limits limits = {0};
  if (argc != 3 || sscanf(argv[1], "%" SCNu64 ":%" SCNu64, &limits.bytes, &limits.ratio) != 2)
    fail("usage: holdfast-layer expand BYTES:RATIO DIRECTORY < packed > plain");
  own_mounts();
  enter_root(argv[2]);
  keep_capabilities(NULL, 0);
  struct stream stream;
  stream_open_packed(&stream, &limits);
  const void *block;
  la_ssize_t count;
  while ((count = stream_read(&stream, stream.source, &block)) > 0) write_all(block, (size_t)count);
  if (count < 0) fail("cannot read the archive: %s", archive_error_string(stream.source));
  return 0;
}
