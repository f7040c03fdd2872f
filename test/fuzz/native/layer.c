// A layer, or an archive that somebody copies into a container: what it does to the files below the root. The first byte says how it is unpacked.
#define _GNU_SOURCE

#include "layer.h"
#include "unpacking.h"

// Small, so that an input that means to be large is one that is refused.
static const struct limits limits = {.entries = 200, .bytes = 1 << 20, .ratio = 1000};
static const struct owner owner = {1000, 1000};

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
  sandbox_unpack("a", &limits, &placing);
  sandbox_check();
  return 0;
}
