// Files of several names, by their inode: which have been written to the layer, and which of their names stay as they are.
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "layer.h"
#include "walk.h"

struct inode {
  dev_t device;
  ino_t number;
  char *written; // the name that others can be linked to
  struct names kept;
};

struct links {
  size_t room, used;
  struct inode *table;
};

struct links *links_new(void)
{
  struct links *links = calloc(1, sizeof *links);
  if (links == NULL) fail("out of memory");
  return links;
}

// The place of an inode, or the empty one where it would stand; an empty one has no name of either kind.
static struct inode *place_of(const struct links *links, dev_t device, ino_t number)
{
  size_t at = (size_t)((number ^ device) * 0x9e3779b97f4a7c15u) & (links->room - 1);
  for (;; at = (at + 1) & (links->room - 1)) {
    struct inode *link = &links->table[at];
    if (link->written == NULL && link->kept.count == 0) return link;
    if (link->device == device && link->number == number) return link;
  }
}

static void grow(struct links *links)
{
  struct inode *old = links->table;
  size_t count = links->room;
  links->room = count == 0 ? 256 : 2 * count;
  links->table = calloc(links->room, sizeof *links->table);
  if (links->table == NULL) fail("out of memory");
  for (size_t i = 0; i < count; i++)
    if (old[i].written != NULL || old[i].kept.count > 0) *place_of(links, old[i].device, old[i].number) = old[i];
  free(old);
}

static char *copy_of(const char *text)
{
  char *copy = strdup(text);
  if (copy == NULL) fail("out of memory");
  return copy;
}

static struct inode *link_of(struct links *links, const struct stat *about)
{
  if (2 * links->used >= links->room) grow(links);
  struct inode *link = place_of(links, about->st_dev, about->st_ino);
  if (link->written == NULL && link->kept.count == 0) links->used++;
  link->device = about->st_dev;
  link->number = about->st_ino;
  return link;
}

const char *links_written(struct links *links, const struct stat *about, const char *path)
{
  struct inode *link = link_of(links, about);
  if (link->written != NULL) return link->written;
  link->written = copy_of(path);
  return NULL;
}

const char *links_kept(struct links *links, const struct stat *about, const char *path)
{
  struct inode *link = link_of(links, about);
  if (link->written != NULL) return link->written;
  link->kept.names = realloc(link->kept.names, (link->kept.count + 1) * sizeof *link->kept.names);
  if (link->kept.names == NULL) fail("out of memory");
  link->kept.names[link->kept.count++] = copy_of(path);
  return NULL;
}

const struct names *links_kept_names(struct links *links, const struct stat *about)
{
  return &link_of(links, about)->kept;
}

void links_free(struct links *links)
{
  for (size_t i = 0; i < links->room; i++) {
    free(links->table[i].written);
    names_free(&links->table[i].kept);
  }
  free(links->table);
  free(links);
}
