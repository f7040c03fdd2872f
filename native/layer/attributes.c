// Extended attributes as far as they belong to a layer: file capabilities, and what users have set. Not those by which this host's overlay or security
// modules mark their files.
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "layer.h"

static int is_wanted(const char *name)
{
  if (strcmp(name, "security.capability") == 0) return 1;
  return strncmp(name, "user.", 5) == 0 && strncmp(name, "user.overlay.", 13) != 0;
}

static int by_name(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

// Takes the names of `list` that are wanted, sorted; they point into it.
static size_t wanted_names(char *list, size_t size, char **names)
{
  size_t count = 0;
  for (char *name = list; name < list + size; name += strlen(name) + 1)
    if (is_wanted(name)) names[count++] = name;
  qsort(names, count, sizeof *names, by_name);
  return count;
}

static void read_value(const char *file, const char *name, struct attributes *found)
{
  ssize_t size = lgetxattr(file, name, NULL, 0);
  char *value = malloc(size > 0 ? (size_t)size : 1);
  if (value == NULL) fail("out of memory");
  if (size > 0) size = lgetxattr(file, name, value, (size_t)size);
  if (size < 0) {
    free(value); // gone since
    return;
  }
  size_t at = found->count++;
  found->names[at] = strdup(name);
  found->values[at] = value;
  found->sizes[at] = (size_t)size;
  if (found->names[at] == NULL) fail("out of memory");
}

void attributes_read(int at, const char *name, struct attributes *found)
{
  memset(found, 0, sizeof *found);
  if (fchdir(at) < 0) fail("fchdir: %s", strerror(errno));
  ssize_t size = llistxattr(name, NULL, 0);
  if (size <= 0) return; // none, or a file system without them
  char *list = malloc((size_t)size), **names = calloc((size_t)size, sizeof *names);
  if (list == NULL || names == NULL) fail("out of memory");
  size = llistxattr(name, list, (size_t)size);
  size_t count = size <= 0 ? 0 : wanted_names(list, (size_t)size, names);
  if (count > 0) {
    found->names = calloc(count, sizeof *found->names);
    found->values = calloc(count, sizeof *found->values);
    found->sizes = calloc(count, sizeof *found->sizes);
    if (found->names == NULL || found->values == NULL || found->sizes == NULL) fail("out of memory");
    for (size_t i = 0; i < count; i++) read_value(name, names[i], found);
  }
  free(names);
  free(list);
}

int attributes_equal(const struct attributes *a, const struct attributes *b)
{
  if (a->count != b->count) return 0;
  for (size_t i = 0; i < a->count; i++)
    if (strcmp(a->names[i], b->names[i]) != 0 || a->sizes[i] != b->sizes[i] || memcmp(a->values[i], b->values[i], a->sizes[i]) != 0)
      return 0;
  return 1;
}

void attributes_free(struct attributes *attributes)
{
  for (size_t i = 0; i < attributes->count; i++) {
    free(attributes->names[i]);
    free(attributes->values[i]);
  }
  free(attributes->names);
  free(attributes->values);
  free(attributes->sizes);
}
