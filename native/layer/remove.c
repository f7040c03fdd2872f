// remove DIRECTORY NAME...: takes trees away that a container wrote. Such a tree may be deeper than a path can be long, and than a process can have files open:
// what lies deep in it is moved up to its top first. Nobody else writes there any more.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer.h"

struct tree {
  int top;
  unsigned long moved; // so many have got names of ours
  unsigned long steps; // whatever was removed or moved
  int error;           // of the last that could not be
};

enum { NAME_SIZE = 32 };

// `act` on the name of each entry; what it removes or moves meanwhile may or may not come.
static int each_entry(int directory, void (*act)(struct tree *, int directory, const char *name), struct tree *tree)
{
  int own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = own < 0 ? NULL : fdopendir(own);
  if (entries == NULL) {
    int error = errno;
    if (own >= 0) close(own);
    return error;
  }
  errno = 0;
  for (struct dirent *entry = readdir(entries); entry != NULL; errno = 0, entry = readdir(entries))
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) act(tree, directory, entry->d_name);
  int error = errno;
  closedir(entries);
  return error;
}

static void move_up(struct tree *tree, int directory, const char *name)
{
  char free_name[NAME_SIZE];
  do {
    snprintf(free_name, sizeof free_name, "%lu", tree->moved++);
    if (renameat2(directory, name, tree->top, free_name, RENAME_NOREPLACE) == 0) {
      tree->steps++;
      return;
    }
  } while (errno == EEXIST);
  tree->error = errno;
}

// Whether it is gone; if not, errno says why. A directory is only removed if it is empty.
static int is_removed(int directory, const char *name)
{
  return unlinkat(directory, name, 0) == 0 || errno == ENOENT || (errno == EISDIR && unlinkat(directory, name, AT_REMOVEDIR) == 0);
}

static void clear_second(struct tree *tree, int directory, const char *name)
{
  if (is_removed(directory, name)) tree->steps++;
  else if (errno == ENOTEMPTY) move_up(tree, directory, name);
  else tree->error = errno;
}

static void clear_first(struct tree *tree, int directory, const char *name)
{
  if (is_removed(directory, name)) {
    tree->steps++;
    return;
  }
  int inner = errno != ENOTEMPTY ? -1 : openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (inner < 0) {
    tree->error = errno;
    return;
  }
  int error = each_entry(inner, clear_second, tree);
  close(inner);
  if (is_removed(directory, name)) tree->steps++;
  else tree->error = error != 0 ? error : tree->error;
}

// Returns 0, or the errno of what is in the way.
static int remove_whole(int directory, const char *name)
{
  if (is_removed(directory, name)) return 0;
  if (errno != ENOTEMPTY) return errno;
  struct tree tree = {.top = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
  if (tree.top < 0) return errno == ENOENT ? 0 : errno;
  unsigned long before;
  int error;
  do {
    before = tree.steps;
    tree.error = 0;
    error = each_entry(tree.top, clear_first, &tree);
  } while (!is_removed(directory, name) && tree.steps != before);
  if (error == 0) error = tree.error;
  close(tree.top);
  return is_removed(directory, name) ? 0 : error != 0 ? error : errno;
}

int remove_trees(int argc, char **argv)
{
  if (argc < 3) fail("usage: holdfast-layer remove DIRECTORY NAME...");
  int directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) fail("cannot open %s: %s", argv[1], strerror(errno));
  // Two that take the same tree apart would take it out of each other's hands, and neither knows when it is gone. The other may be an earlier daemon's.
  if (flock(directory, LOCK_EX) != 0) fail("cannot lock %s: %s", argv[1], strerror(errno));
  int status = 0;
  for (int i = 2; i < argc; i++) {
    int error = remove_whole(directory, argv[i]);
    if (error == 0) continue;
    // The others go all the same.
    fprintf(stderr, "cannot remove %s/%s: %s\n", argv[1], argv[i], strerror(error));
    status = 1;
  }
  return status;
}
