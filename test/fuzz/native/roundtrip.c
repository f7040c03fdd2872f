// The way back: whatever tree a layer makes, the layer that diff makes of it must make the same tree of what was there before. The trees are hostile as
// a container's are: names, modes, links, devices, attributes and holes as an archive can have them.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

// compare_roots() and open_root() are its own.
#include "diff.c"

#include "unpacking.h"

static const struct limits limits = {.entries = 200, .bytes = 1 << 20, .ratio = 1000};
// What diff itself writes may have more of everything: parents, whiteouts.
static const struct limits wide = {.entries = 10000, .bytes = 64 << 20, .ratio = 0};
static const struct placing whole_layer = {.is_layer = 1};

static int left_root, right_root;
static const char *compression;
// Not on the stack: an archive that is closed after fail() still writes into it.
static struct sink sink;

static void diff_all(void *context)
{
  (void)context;
  sink_open(&sink, compression);
  struct walk *walk = walk_new(sink.tar, WALK_LAYER, -1);
  compare_roots(walk, left_root, right_root);
  walk_free(walk);
  char hex[DIGEST_HEX + 1];
  sink_finish(&sink, hex);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static const char *const compressions[] = {"none", "gzip", "zstd"};
  if (size == 0) return 0;
  compression = compressions[data[0] % 3];
  sandbox_show(data, size);
  sandbox_reset("a");
  sandbox_reset("b");
  sandbox_input(data + 1, size - 1);
  int whole = sandbox_unpack("b", &limits, &whole_layer);
  if (!whole) return -1; // half of a tree is a tree too, but not one that says where it is from
  left_root = sandbox_open("a");
  right_root = sandbox_open("b");
  whole = sandbox_run("b", diff_all, NULL);
  close(left_root);
  close(right_root);
  // A file whose name is a whiteout's, a path that is too long: no layer can have it, and diff says so.
  if (!whole) return 0;
  sandbox_turn_around();
  if (!sandbox_unpack("a", &wide, &whole_layer)) {
    fprintf(stderr, "what diff made cannot be unpacked: %s\n", sandbox_reason());
    abort();
  }
  sandbox_compare();
  sandbox_check();
  return 0;
}
