// See unpacking.h.
#include "unpacking.h"

#include <stdlib.h>

struct unpacking {
  const struct limits *limits;
  const struct placing *placing;
};

static struct stream stream;

static void unpack_all(void *context)
{
  const struct unpacking *unpacking = context;
  char hex[DIGEST_HEX + 1];
  stream_open(&stream, unpacking->limits);
  extract_all(&stream, unpacking->limits, unpacking->placing);
  stream_finish(&stream, hex);
  stream.digest = NULL;
}

int sandbox_unpack(const char *root, const struct limits *limits, const struct placing *placing)
{
  struct unpacking unpacking = {limits, placing};
  int whole = sandbox_run(root, unpack_all, &unpacking);
  free(stream.digest);
  stream.digest = NULL;
  return whole;
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  (void)argc;
  (void)argv;
  sandbox_make();
  return 0;
}
