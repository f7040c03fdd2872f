// A layer, or an archive that somebody copies into a container: what it does to the files below the root. The first byte says how it is unpacked.
#define _GNU_SOURCE
#include <stdlib.h>

#include "layer.h"
#include "sandbox.h"

// Small, so that an input that means to be large is one that is refused.
static const struct limits limits = {.entries = 200, .bytes = 1 << 20, .ratio = 1000};
static const struct owner owner = {1000, 1000};

static struct stream stream;

static void unpack_all(void *context)
{
  char hex[DIGEST_HEX + 1];
  stream_open(&stream, &limits);
  extract_all(&stream, &limits, context);
  stream_finish(&stream, hex);
  stream.digest = NULL;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  sandbox_make();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size == 0) return 0;
  struct placing placing = {
      .is_layer = (data[0] & 1) == 0,
      .name = (data[0] & 2) != 0 ? "dir/named" : NULL,
      .owner = (data[0] & 4) != 0 ? &owner : NULL,
  };
  sandbox_show(data, size);
  sandbox_reset("a");
  sandbox_input(data + 1, size - 1);
  sandbox_run("a", unpack_all, &placing);
  free(stream.digest);
  stream.digest = NULL;
  sandbox_check();
  return 0;
}
