// Runs a fuzzer's function without libFuzzer, for machines that have no clang: on each file given, or on all files of a directory; and on as many changed
// copies of them as the first argument says, seeded by the second. Blind changes: nothing tells them what is new.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) __attribute__((weak));
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

enum { MOST_INPUTS = 4096, MOST_BYTES = 16384 };

static struct input {
  uint8_t *data;
  size_t size;
} inputs[MOST_INPUTS];
static size_t count;
static uint64_t state;

static uint32_t draw(uint32_t below)
{
  state = state * 6364136223846793005u + 1442695040888963407u;
  return below == 0 ? 0 : (uint32_t)(state >> 33) % below;
}

_Noreturn static void die(const char *what)
{
  fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
  exit(2);
}

static void take_file(const char *path)
{
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  struct stat about;
  if (fd < 0 || fstat(fd, &about) < 0) die(path);
  if (count == MOST_INPUTS) die("too many inputs");
  struct input *input = &inputs[count++];
  input->size = (size_t)about.st_size;
  input->data = malloc(input->size + 1);
  if (input->data == NULL || read(fd, input->data, input->size) != about.st_size) die(path);
  close(fd);
}

static void take(const char *path)
{
  DIR *directory = opendir(path);
  if (directory == NULL) {
    take_file(path);
    return;
  }
  for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
    if (entry->d_name[0] == '.') continue;
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
    take_file(name);
  }
  closedir(directory);
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most)
{
  for (uint32_t left = 1 + draw(4); left > 0; left--) {
    uint32_t at = draw((uint32_t)size);
    switch (size == 0 ? 3 : draw(5)) {
    case 0: data[at] ^= (uint8_t)(1 << draw(8)); break;
    case 1: data[at] = (uint8_t)draw(256); break;
    case 2:
      memmove(data + at, data + at + 1, size - at - 1);
      size--;
      break;
    case 3:
      if (size == most) break;
      memmove(data + at + 1, data + at, size - at);
      data[at] = (uint8_t)draw(256);
      size++;
      break;
    default: {
      const struct input *other = &inputs[draw((uint32_t)count)];
      size_t length = draw((uint32_t)(other->size < size - at ? other->size : size - at) + 1);
      memcpy(data + at, other->data + draw((uint32_t)(other->size - length) + 1), length);
    }
    }
  }
  return size;
}

// Shared with a file: there the input is found when the process dies of it, behind its length.
static struct shown {
  uint64_t size;
  uint8_t data[MOST_BYTES];
} *shown;

static void show_in(const char *path)
{
  int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0 || ftruncate(fd, sizeof *shown) < 0) die(path);
  shown = mmap(NULL, sizeof *shown, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (shown == MAP_FAILED) die(path);
  close(fd);
}

static void run(const uint8_t *data, size_t size)
{
  shown->size = size < sizeof shown->data ? size : sizeof shown->data;
  memcpy(shown->data, data, shown->size);
  // A copy of exactly that size: a byte read behind it is seen.
  uint8_t *copy = malloc(size);
  if (copy == NULL && size > 0) die("malloc");
  if (size > 0) memcpy(copy, data, size);
  LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

int main(int argc, char **argv)
{
  if (argc < 5) {
    fprintf(stderr, "usage: %s CHANGED SEED SHOWN INPUT...\n", argv[0]);
    return 2;
  }
  unsigned long changed = strtoul(argv[1], NULL, 10);
  state = strtoull(argv[2], NULL, 10);
  show_in(argv[3]);
  for (int i = 4; i < argc; i++) take(argv[i]);
  if (LLVMFuzzerInitialize != NULL) LLVMFuzzerInitialize(&argc, &argv);
  for (size_t i = 0; i < count; i++) run(inputs[i].data, inputs[i].size);
  static uint8_t buffer[MOST_BYTES];
  for (unsigned long i = 0; i < changed && count > 0; i++) {
    const struct input *input = &inputs[draw((uint32_t)count)];
    size_t size = input->size < sizeof buffer ? input->size : sizeof buffer;
    memcpy(buffer, input->data, size);
    if (LLVMFuzzerCustomMutator != NULL) size = LLVMFuzzerCustomMutator(buffer, size, sizeof buffer, draw(UINT32_MAX));
    else size = LLVMFuzzerMutate(buffer, size, sizeof buffer);
    run(buffer, size);
  }
  unlink(argv[3]);
  fprintf(stderr, "replayed %zu inputs and %lu changed ones\n", count, changed);
  return 0;
}
