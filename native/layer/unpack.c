// unpack LIMITS DIRECTORY BASE [TYPE SOURCE FLAGS DATA]... < layer
// Mounts the given mounts on DIRECTORY, in a mount namespace of its own, makes it its root, unpacks the layer that comes on stdin, and prints
// one line of JSON: digest and size of the uncompressed layer, and the number of its entries. LIMITS is "entries:bytes:ratio"; paths in
// the mounts may be relative to BASE, as the kernel takes one page of them.
// What goes wrong is a line on stderr, and status 1.
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"

// What is needed to give files their owners, modes, times, devices and file capabilities, and nothing that leads out of the root.
static const int kept_capabilities[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP};

int unpack(int argc, char **argv)
{
  struct limits limits;
  if (argc < 4 || argc % 4 != 0 ||
      sscanf(argv[1], "%" SCNu64 ":%" SCNu64 ":%" SCNu64, &limits.entries, &limits.bytes, &limits.ratio) != 3)
    fail("usage: holdfast-layer unpack ENTRIES:BYTES:RATIO DIRECTORY BASE [TYPE SOURCE FLAGS DATA]... < layer");
  own_mounts();
  mount_all(argv[2], argv[3], argc - 4, argv + 4);
  // The layer may make any device. Nothing is to open one, by whatever mistake.
  if (argc > 4) mount_without_devices(argv[2]);
  enter_root(argv[2]);
  keep_capabilities(kept_capabilities, sizeof kept_capabilities / sizeof *kept_capabilities);
  struct stream stream;
  stream_open(&stream, &limits);
  uint64_t entries = extract_all(&stream, &limits, &(struct placing){.is_layer = 1});
  char hex[DIGEST_HEX + 1];
  stream_finish(&stream, hex);
  printf("{\"digest\":\"sha256:%s\",\"size\":%" PRIu64 ",\"entries\":%" PRIu64 "}\n", hex, stream.unpacked, entries);
  return fflush(stdout) == 0 ? 0 : 1;
}
