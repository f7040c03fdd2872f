// Entries of a layer to files below the root, in the way of the OCI image specification (layer.md): whiteouts take away what lower layers have, an entry
// takes the place of what is there. The process has no other root, so no link leads anywhere else.
#define _GNU_SOURCE
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer.h"

#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define RESERVED ".wh..wh."
#define AUFS_LINKS ".wh..wh.plnk"

enum { TREE_DESCRIPTORS = 32, LINK_DEPTH = 40 };

// `path` as it stands below the root: no leading slash, no "." and no ".."; "" for the root. Ends the program if it is too long.
static void clean(const char *path, char result[PATH_MAX])
{
  size_t length = 0;
  if (path == NULL) path = "";
  while (*path != 0) {
    while (*path == '/') path++;
    size_t part = strcspn(path, "/");
    if (part == 0 || (part == 1 && path[0] == '.')) {
    } else if (part == 2 && path[0] == '.' && path[1] == '.') {
      while (length > 0 && result[--length] != '/') continue;
    } else {
      if (length + part + 2 > PATH_MAX || part > NAME_MAX) fail("a path of the layer is too long: %.64s…", path);
      if (length > 0) result[length++] = '/';
      memcpy(result + length, path, part);
      length += part;
    }
    path += part;
  }
  result[length] = 0;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *walk)
{
  (void)about;
  (void)kind;
  (void)walk;
  return remove(path);
}

void remove_tree(const char *path)
{
  if (unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR) return;
  if (nftw(path, remove_one, TREE_DESCRIPTORS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
    fail("cannot remove %s: %s", path, strerror(errno));
}

static void make_opaque(const char *directory);

// Takes away what lower layers have at `path`; what this layer has made stays, as no whiteout is about its own layer.
static void hide(const char *path)
{
  struct stat about;
  if (!seen_has(path)) remove_tree(path);
  else if (lstat(path, &about) == 0 && S_ISDIR(about.st_mode)) make_opaque(path);
}

// Takes away all in a directory that this layer did not make.
static void make_opaque(const char *directory)
{
  DIR *entries = opendir(directory[0] == 0 ? "." : directory);
  if (entries == NULL) {
    if (errno == ENOENT || errno == ENOTDIR) return;
    fail("cannot read %s: %s", directory, strerror(errno));
  }
  for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s%s%s", directory, directory[0] == 0 ? "" : "/", entry->d_name);
    if (length < 0 || length >= (int)sizeof path) fail("a path below %s is too long", directory);
    hide(path);
  }
  closedir(entries);
}

// Follows the links that lead to the directory of `path`, so that a file has one name only in what this layer has made. Returns whether that is there.
static int settle(char path[PATH_MAX])
{
  char *slash = strrchr(path, '/');
  if (slash == NULL) return 1;
  char real[PATH_MAX], name[NAME_MAX + 1];
  strcpy(name, slash + 1);
  *slash = 0;
  if (realpath(path, real) == NULL) {
    if (errno == ENOENT || errno == ENOTDIR) return 0;
    fail("cannot read %s: %s", path, strerror(errno));
  }
  int length = snprintf(path, PATH_MAX, "%s%s%s", real + 1, real[1] == 0 ? "" : "/", name);
  if (length < 0 || length >= PATH_MAX) fail("a path of the layer is too long: %.64s…", real);
  return 1;
}

// Whether it is in one of the directories that aufs kept at the root, and that are no part of the layer. Of one of them hard links are made: it goes at the end.
static int is_of_aufs(const char *path)
{
  return strncmp(path, RESERVED, sizeof RESERVED - 1) == 0 && strcmp(path, OPAQUE) != 0 &&
         strncmp(path, AUFS_LINKS "/", sizeof AUFS_LINKS) != 0;
}

// Whether the entry is a whiteout, which is then done. `path` is changed.
static int whiteout(char path[PATH_MAX])
{
  char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
  if (strncmp(name, WHITEOUT, sizeof WHITEOUT - 1) != 0) return 0;
  int is_opaque = strcmp(name, OPAQUE) == 0;
  if (!is_opaque && strncmp(name, RESERVED, sizeof RESERVED - 1) == 0) return 1; // aufs' own
  const char *hidden = is_opaque ? "." : name + sizeof WHITEOUT - 1;
  if (!is_opaque && (hidden[0] == 0 || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)) fail("a whiteout of nothing: %s", path);
  memmove(name, hidden, strlen(hidden) + 1);
  if (!settle(path)) return 1; // nothing is there
  if (!is_opaque) hide(path);
  else {
    // The directory, without the dot.
    path[strlen(path) - (strcmp(path, ".") == 0 ? 1 : 2)] = 0;
    make_opaque(path);
  }
  return 1;
}

// A directory may be there already and stays; anything else makes way.
static void make_way(const char *path, mode_t kind)
{
  struct stat there;
  if (lstat(path, &there) < 0) return;
  if (!(S_ISDIR(there.st_mode) && kind == AE_IFDIR)) remove_tree(path);
}

static int make_parents(const char *path, int depth);

// A link that leads to a directory which is not there yet, such as /var/run -> /run before /run: the directory is made.
static void make_link_target(const char *link, int depth)
{
  char target[PATH_MAX], joined[PATH_MAX], path[PATH_MAX];
  ssize_t length = readlink(link, target, sizeof target - 1);
  if (length < 0) fail("%s is in the way: it is no directory", link);
  target[length] = 0;
  const char *slash = target[0] == '/' ? NULL : strrchr(link, '/');
  int count = snprintf(joined, sizeof joined, "%.*s/%s", slash == NULL ? 0 : (int)(slash - link), link, target);
  if (count < 0 || count >= (int)sizeof joined - 2 || depth > LINK_DEPTH) fail("%s: too many levels of symbolic links", link);
  clean(joined, path);
  if (path[0] == 0) return;
  strcat(path, "/.");
  make_parents(path, depth + 1);
}

// Archives may leave out the directories that lead to a file. Returns whether there is a link among them.
static int make_parents(const char *path, int depth)
{
  char parent[PATH_MAX];
  struct stat there = {0};
  int is_through_link = 0;
  strcpy(parent, path);
  for (char *slash = strchr(parent, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
    *slash = 0;
    if (mkdir(parent, 0755) < 0 && errno != EEXIST) fail("cannot make %s: %s", parent, strerror(errno));
    int is_link = lstat(parent, &there) == 0 && S_ISLNK(there.st_mode);
    is_through_link |= is_link;
    if (is_link && stat(parent, &there) < 0) make_link_target(parent, depth);
    else if (!S_ISDIR(there.st_mode)) {
      // A file makes way here, not in libarchive: that would come back to the path at the end, and open whatever is there by then.
      remove_tree(parent);
      if (mkdir(parent, 0755) < 0) fail("cannot make %s: %s", parent, strerror(errno));
    }
    seen_add(parent);
    *slash = '/';
  }
  return is_through_link;
}

void copy_data(struct archive *from, struct archive *to, const char *path)
{
  const void *block;
  size_t size;
  la_int64_t offset;
  int status;
  while ((status = archive_read_data_block(from, &block, &size, &offset)) == ARCHIVE_OK)
    if (archive_write_data_block(to, block, size, offset) < ARCHIVE_OK) fail("cannot write %s: %s", path, archive_error_string(to));
  if (status != ARCHIVE_EOF) fail("%s in the layer: %s", path, archive_error_string(from));
}

// A file system without extended attributes is no reason to stop, as for containerd.
int is_well(struct archive *to, int status)
{
  return status == ARCHIVE_OK || (status == ARCHIVE_WARN && archive_errno(to) == ENOTSUP);
}

// Puts `name` in the place of the first part of the path; of a path of no part too. Nothing happens without a name.
static void rename_first(char path[PATH_MAX], const char *name)
{
  if (name == NULL) return;
  char rest[PATH_MAX];
  strcpy(rest, path + strcspn(path, "/"));
  int length = snprintf(path, PATH_MAX, "%s%s", name, rest);
  if (length < 0 || length >= PATH_MAX) fail("a path is too long: %.64s…", name);
}

// A number that the kernel would cut off is another one's; the last means "as it is".
static void demand_owner(la_int64_t id, const char *path)
{
  if (id < 0 || id >= UINT32_MAX) fail("%s in the layer has an owner that cannot be: %" PRId64, path, (int64_t)id);
}

static void extract_one(struct archive *from, struct archive *to, struct archive_entry *entry, const struct placing *placing)
{
  char path[PATH_MAX], target[PATH_MAX];
  const char *name = archive_entry_pathname(entry), *link = archive_entry_hardlink(entry);
  if (name == NULL) fail("an entry of the layer has no name");
  clean(name, path);
  rename_first(path, placing->name);
  if (placing->is_layer && path[0] != 0 && (is_of_aufs(path) || whiteout(path))) return;
  if (path[0] == 0 && (link != NULL || archive_entry_filetype(entry) != AE_IFDIR)) fail("the layer's root is no directory");
  if (link != NULL) {
    clean(link, target);
    rename_first(target, placing->name);
    if (strcmp(target, path) == 0) return; // to itself
    archive_entry_set_hardlink(entry, target);
  }
  if (path[0] != 0) {
    if (make_parents(path, 0) && placing->is_layer && settle(path)) make_parents(path, 0);
    make_way(path, link == NULL ? archive_entry_filetype(entry) : 0);
    seen_add(path);
  }
  archive_entry_set_pathname(entry, path[0] == 0 ? "." : path);
  // Names are looked up by nobody: an image's numbers are what counts.
  archive_entry_set_uname(entry, NULL);
  archive_entry_set_gname(entry, NULL);
  if (placing->owner != NULL) {
    archive_entry_set_uid(entry, placing->owner->uid);
    archive_entry_set_gid(entry, placing->owner->gid);
  }
  demand_owner(archive_entry_uid(entry), path);
  demand_owner(archive_entry_gid(entry), path);
  if (!is_well(to, archive_write_header(to, entry))) fail("cannot make %s: %s", path, archive_error_string(to));
  if (link == NULL && archive_entry_size(entry) > 0) copy_data(from, to, path);
  if (!is_well(to, archive_write_finish_entry(to))) fail("cannot finish %s: %s", path, archive_error_string(to));
}

uint64_t extract_all(struct stream *stream, const struct limits *limits, const struct placing *placing)
{
  // Directories that libarchive makes by itself, where one that we have made is gone again, have the mode that they are to have at once with this mask. With another
  // it would come back to their paths at the end, and open what somebody has put there meanwhile: a pipe, a device. Entries' own modes know no mask.
  umask(S_IWOTH);
  struct archive *disk = archive_write_disk_new();
  if (disk == NULL) fail("out of memory");
  archive_write_disk_set_options(disk, EXTRACT_FLAGS);
  uint64_t count = 0;
  struct archive_entry *entry;
  int status;
  while ((status = archive_read_next_header(stream->tar, &entry)) == ARCHIVE_OK || status == ARCHIVE_WARN) {
    count++;
    if (limits->entries != 0 && count > limits->entries)
      fail("the layer has more than the %" PRIu64 " entries that it may have", limits->entries);
    if (archive_entry_size(entry) < 0) fail("%s in the layer has a negative size", archive_entry_pathname(entry));
    extract_one(stream->tar, disk, entry, placing);
  }
  if (placing->is_layer && seen_has(AUFS_LINKS)) remove_tree(AUFS_LINKS);
  if (status != ARCHIVE_EOF) fail("cannot read the layer: %s", archive_error_string(stream->tar));
  // Times of directories are set last.
  if (archive_write_free(disk) != ARCHIVE_OK) fail("cannot finish the layer: %s", strerror(errno));
  return count;
}
