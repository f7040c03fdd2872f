// Entries of a layer that is made: their headers, data, attributes and holes, hard links among them, and whiteouts.
#define _GNU_SOURCE
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "layer.h"
#include "walk.h"

#define WHITEOUT ".wh."

enum { MAX_DEPTH = PATH_MAX / 2 };

struct level {
  size_t length; // of the path that leads here
  int fd;
  int written;
  struct stat about;
};

struct walk {
  struct archive *tar;
  enum walk_form form;
  long long latest;
  struct links *links;
  size_t depth;
  char path[PATH_MAX];
  struct level levels[MAX_DEPTH];
};

struct walk *walk_new(struct archive *tar, enum walk_form form, long long latest)
{
  struct walk *walk = calloc(1, sizeof *walk);
  if (walk == NULL) fail("out of memory");
  // Two descriptors for every level of directories.
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  walk->tar = tar;
  walk->form = form;
  walk->latest = latest;
  walk->links = links_new();
  return walk;
}

void walk_free(struct walk *walk)
{
  links_free(walk->links);
  free(walk);
}

static struct level *here(struct walk *walk)
{
  return &walk->levels[walk->depth - 1];
}

// The path of `name` in the directory where the walk is.
static void path_of(struct walk *walk, const char *prefix, const char *name, char result[PATH_MAX])
{
  size_t length = here(walk)->length;
  int count = snprintf(result, PATH_MAX, "%.*s%s%s%s", (int)length, walk->path, length == 0 ? "" : "/", prefix, name);
  if (count < 0 || count >= PATH_MAX) fail("a path is too long for a layer: %.64s…", walk->path);
}

void walk_enter(struct walk *walk, const char *name, int fd, const struct stat *about, int written)
{
  size_t length = 0;
  if (walk->depth == MAX_DEPTH) fail("too many directories in each other: %.64s…", walk->path);
  if (name != NULL) {
    char path[PATH_MAX];
    path_of(walk, "", name, path);
    length = strlen(path);
    memcpy(walk->path, path, length + 1);
  }
  walk->levels[walk->depth++] = (struct level){.length = length, .fd = fd, .written = written, .about = *about};
}

void walk_leave(struct walk *walk)
{
  walk->depth--;
  walk->path[walk->depth == 0 ? 0 : here(walk)->length] = 0;
}

static void set_time(struct walk *walk, struct archive_entry *entry, time_t seconds)
{
  if (walk->latest >= 0 && seconds > walk->latest) seconds = (time_t)walk->latest;
  archive_entry_unset_atime(entry);
  archive_entry_unset_ctime(entry);
  archive_entry_unset_birthtime(entry);
  archive_entry_set_mtime(entry, seconds, 0);
}

static void add_attributes(struct archive_entry *entry, int directory, const char *name)
{
  struct attributes found;
  attributes_read(directory, name, &found);
  for (size_t i = 0; i < found.count; i++)
    archive_entry_xattr_add_entry(entry, found.names[i], found.values[i], found.sizes[i]);
  attributes_free(&found);
}

static void list(char what, const char *path)
{
  printf("%c%s%c", what, path, 0);
}

static void write_header(struct walk *walk, struct archive_entry *entry)
{
  // A name that is not UTF-8 is written as it is, with a warning.
  if (archive_write_header(walk->tar, entry) < ARCHIVE_WARN)
    fail("cannot write %s: %s", archive_entry_pathname(entry), archive_error_string(walk->tar));
}

static struct archive_entry *entry_of(struct walk *walk, int directory, const char *name, const char *path, const struct stat *about)
{
  struct archive_entry *entry = archive_entry_new();
  if (entry == NULL) fail("out of memory");
  archive_entry_copy_stat(entry, about);
  set_time(walk, entry, about->st_mtim.tv_sec);
  archive_entry_copy_pathname(entry, path);
  if (!S_ISREG(about->st_mode)) archive_entry_set_size(entry, 0);
  if (S_ISREG(about->st_mode) || S_ISDIR(about->st_mode)) add_attributes(entry, directory, name);
  return entry;
}

void walk_add_parents(struct walk *walk)
{
  for (size_t i = 0; i < walk->depth; i++) {
    struct level *level = &walk->levels[i];
    if (level->written) continue;
    level->written = 1;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s", (int)level->length, walk->path);
    if (walk->form == WALK_LIST) {
      list('P', path);
      continue;
    }
    struct archive_entry *entry = entry_of(walk, level->fd, ".", level->length == 0 ? "./" : path, &level->about);
    write_header(walk, entry);
    archive_entry_free(entry);
  }
}

// Where the data of a file with holes is.
static void add_holes(struct archive_entry *entry, int fd, const struct stat *about)
{
  if (about->st_blocks * 512 >= about->st_size) return;
  off_t at = 0, end;
  while (at < about->st_size && (at = lseek(fd, at, SEEK_DATA)) >= 0 && at < about->st_size) {
    end = lseek(fd, at, SEEK_HOLE);
    if (end < 0 || end > about->st_size) end = about->st_size;
    archive_entry_sparse_add_entry(entry, at, end - at);
    at = end;
  }
  // A hole and nothing else.
  if (archive_entry_sparse_count(entry) == 0) archive_entry_sparse_add_entry(entry, about->st_size, 0);
}

// What has been cut off meanwhile is written as zeros.
static void write_data(struct walk *walk, int fd, off_t size, const char *path)
{
  static char block[64 << 10];
  for (off_t at = 0; at < size;) {
    size_t wanted = size - at < (off_t)sizeof block ? (size_t)(size - at) : sizeof block;
    ssize_t count = pread(fd, block, wanted, at);
    if (count < 0) fail("cannot read %s: %s", path, strerror(errno));
    if (count == 0) break;
    if (archive_write_data(walk->tar, block, (size_t)count) < 0) fail("cannot write %s: %s", path, archive_error_string(walk->tar));
    at += count;
  }
}

static void add_file(struct walk *walk, int directory, const char *name, const char *path)
{
  struct stat about;
  int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ELOOP || errno == ENXIO)) return; // another one since
  if (fd < 0 || fstat(fd, &about) < 0) fail("cannot open %s: %s", path, strerror(errno));
  if (S_ISREG(about.st_mode)) {
    struct archive_entry *entry = entry_of(walk, directory, name, path, &about);
    add_holes(entry, fd, &about);
    write_header(walk, entry);
    write_data(walk, fd, about.st_size, path);
    if (archive_write_finish_entry(walk->tar) < ARCHIVE_WARN) fail("cannot write %s: %s", path, archive_error_string(walk->tar));
    archive_entry_free(entry);
  }
  close(fd);
}

static void add_link(struct walk *walk, const char *path, const char *target, const struct stat *about)
{
  struct archive_entry *entry = archive_entry_new();
  if (entry == NULL) fail("out of memory");
  archive_entry_copy_stat(entry, about);
  set_time(walk, entry, about->st_mtim.tv_sec);
  archive_entry_copy_pathname(entry, path);
  archive_entry_copy_hardlink(entry, target);
  archive_entry_set_size(entry, 0);
  write_header(walk, entry);
  archive_entry_free(entry);
}

static void add_other(struct walk *walk, int directory, const char *name, const char *path, const struct stat *about)
{
  struct archive_entry *entry = entry_of(walk, directory, name, path, about);
  if (S_ISLNK(about->st_mode)) {
    char target[PATH_MAX];
    ssize_t length = readlinkat(directory, name, target, sizeof target - 1);
    if (length < 0) fail("cannot read the link %s: %s", path, strerror(errno));
    target[length] = 0;
    archive_entry_copy_symlink(entry, target);
  }
  write_header(walk, entry);
  archive_entry_free(entry);
}

void walk_add(struct walk *walk, int directory, const char *name, const struct stat *about, int was)
{
  char path[PATH_MAX];
  path_of(walk, "", name, path);
  if (walk->form == WALK_LIST) {
    walk_add_parents(walk);
    return list(was ? 'C' : 'A', path);
  }
  if (S_ISSOCK(about->st_mode)) return; // no archive has them
  // It would take something away where the layer is unpacked.
  if (walk->form == WALK_LAYER && strncmp(name, WHITEOUT, sizeof WHITEOUT - 1) == 0) fail("%s: a layer cannot have a file of such a name", path);
  walk_add_parents(walk);
  int is_linked = !S_ISDIR(about->st_mode) && about->st_nlink > 1;
  const char *first = is_linked ? links_written(walk->links, about, path) : NULL;
  if (first != NULL) add_link(walk, path, first, about);
  else if (S_ISREG(about->st_mode)) add_file(walk, directory, name, path);
  else add_other(walk, directory, name, path, about);
  if (first != NULL || !is_linked) return;
  // Names that it had before are names of what is in this layer now.
  const struct names *kept = links_kept_names(walk->links, about);
  for (size_t i = 0; i < kept->count; i++) add_link(walk, kept->names[i], path, about);
}

void walk_kept(struct walk *walk, const char *name, const struct stat *about)
{
  char path[PATH_MAX];
  if (walk->form == WALK_LIST || S_ISDIR(about->st_mode) || about->st_nlink < 2) return;
  path_of(walk, "", name, path);
  const char *first = links_kept(walk->links, about, path);
  if (first == NULL) return;
  walk_add_parents(walk);
  add_link(walk, path, first, about);
}

void walk_gone(struct walk *walk, const char *name)
{
  char path[PATH_MAX];
  path_of(walk, walk->form == WALK_LIST ? "" : WHITEOUT, name, path);
  walk_add_parents(walk);
  if (walk->form == WALK_LIST) return list('D', path);
  struct archive_entry *entry = archive_entry_new();
  if (entry == NULL) fail("out of memory");
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_size(entry, 0);
  set_time(walk, entry, 0);
  archive_entry_copy_pathname(entry, path);
  write_header(walk, entry);
  archive_entry_free(entry);
}

void walk_content(struct walk *walk, int directory)
{
  struct names names;
  names_read(directory, &names);
  for (size_t i = 0; i < names.count; i++) {
    struct stat about;
    if (stat_at(directory, names.names[i], &about) == 0) walk_tree(walk, directory, names.names[i], &about);
  }
  names_free(&names);
}

void walk_tree(struct walk *walk, int directory, const char *name, const struct stat *about)
{
  walk_add(walk, directory, name, about, 0);
  if (!S_ISDIR(about->st_mode)) return;
  int below = open_directory(directory, name);
  if (below < 0) return; // gone since
  walk_enter(walk, name, below, about, 1);
  walk_content(walk, below);
  walk_leave(walk);
  close(below);
}
