// Mutations that keep a tar archive readable: whatever has been changed in a header, its checksum is right again. Linked with the fuzzers that unpack.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, SIZE_AT = 124, SIZE_LENGTH = 12, SUM_AT = 148, SUM_LENGTH = 8, OPTIONS = 1 };

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

static void set_sum(uint8_t *header)
{
  unsigned sum = 0;
  memset(header + SUM_AT, ' ', SUM_LENGTH);
  for (size_t i = 0; i < BLOCK; i++) sum += header[i];
  char text[SUM_LENGTH];
  snprintf(text, sizeof text, "%06o", sum);
  memcpy(header + SUM_AT, text, SUM_LENGTH - 1);
}

// The bytes of data behind a header, in whole blocks.
static size_t data_blocks(const uint8_t *header)
{
  char text[SIZE_LENGTH + 1] = {0};
  memcpy(text, header + SIZE_AT, SIZE_LENGTH);
  unsigned long long size = strtoull(text, NULL, 8);
  return size > 1 << 20 ? 0 : (size_t)(size + BLOCK - 1) / BLOCK * BLOCK;
}

static int is_empty(const uint8_t *block)
{
  for (size_t i = 0; i < BLOCK; i++)
    if (block[i] != 0) return 0;
  return 1;
}

static void mend(uint8_t *data, size_t size)
{
  for (size_t at = OPTIONS; at + BLOCK <= size;) {
    uint8_t *header = data + at;
    at += BLOCK;
    if (is_empty(header)) continue;
    set_sum(header);
    at += data_blocks(header);
  }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
  // Often one field of one header, so that an archive of many entries stays one.
  if (size > OPTIONS + BLOCK && seed % 3 == 0) {
    size_t blocks = (size - OPTIONS) / BLOCK, at = OPTIONS + (seed / 3) % blocks * BLOCK;
    LLVMFuzzerMutate(data + at, BLOCK, BLOCK);
  } else {
    size = LLVMFuzzerMutate(data, size, most);
  }
  // A packed layer has no headers to be seen; some plain ones stay wrong.
  if (seed % 8 != 0 && size > OPTIONS + BLOCK && memcmp(data + OPTIONS, "\x1f\x8b", 2) != 0 && memcmp(data + OPTIONS, "\x28\xb5\x2f\xfd", 4) != 0 &&
      memcmp(data + OPTIONS, "BZh", 3) != 0 && memcmp(data + OPTIONS, "\xfd" "7zXZ", 5) != 0)
    mend(data, size);
  return size;
}
