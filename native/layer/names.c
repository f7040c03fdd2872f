// Directories as a diff reads them: by descriptor, so that no link leads out of the tree.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"
#include "walk.h"

static int by_bytes(const void *a, const void *b)
{
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(struct names *names, const char *name)
{
  if ((names->count & (names->count - 1)) == 0) {
    names->names = realloc(names->names, (names->count == 0 ? 1 : 2 * names->count) * sizeof *names->names);
    if (names->names == NULL) fail("out of memory");
  }
  char *copy = strdup(name);
  if (copy == NULL) fail("out of memory");
  names->names[names->count++] = copy;
}

void names_read(int fd, struct names *names)
{
  memset(names, 0, sizeof *names);
  if (fd < 0) return;
  // The stream's own, as it closes it.
  int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = own < 0 ? NULL : fdopendir(own);
  if (entries == NULL) {
    if (errno == ENOENT) return; // removed since
    fail("cannot read a directory: %s", strerror(errno));
  }
  errno = 0;
  for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) add(names, entry->d_name);
  if (errno != 0) fail("cannot read a directory: %s", strerror(errno));
  closedir(entries);
  if (names->count > 0) qsort(names->names, names->count, sizeof *names->names, by_bytes);
}

void names_free(struct names *names)
{
  for (size_t i = 0; i < names->count; i++) free(names->names[i]);
  free(names->names);
}

int open_directory(int at, const char *name)
{
  int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP) fail("cannot open %s: %s", name, strerror(errno));
  return fd;
}

int stat_at(int at, const char *name, struct stat *about)
{
  if (fstatat(at, name, about, AT_SYMLINK_NOFOLLOW) == 0) return 0;
  if (errno != ENOENT) fail("cannot read %s: %s", name, strerror(errno));
  return -1;
}
