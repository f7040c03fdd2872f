// copy FROM TO: a tree with all that belongs to its files (owners, modes, times, attributes, hard links, holes), for snapshots where there is no overlay.
// FROM is a snapshot that was unpacked before, TO an empty directory; nothing else writes to them.
#define _GNU_SOURCE
#include <archive.h>
#include <archive_entry.h>
#include <limits.h>
#include <string.h>

#include "layer.h"

static void copy_entry(struct archive *from, struct archive *to, struct archive_entry *entry)
{
  const char *path = archive_entry_pathname(entry);
  archive_entry_set_uname(entry, NULL);
  archive_entry_set_gname(entry, NULL);
  if (!is_well(to, archive_write_header(to, entry))) fail("cannot make %s: %s", path, archive_error_string(to));
  if (archive_entry_hardlink(entry) == NULL && archive_entry_size(entry) > 0) copy_data(from, to, path);
  if (!is_well(to, archive_write_finish_entry(to))) fail("cannot finish %s: %s", path, archive_error_string(to));
}

// `path` below `from` as it stands below `to`.
static const char *moved(const char *path, const char *from, const char *to, char result[PATH_MAX])
{
  int length = snprintf(result, PATH_MAX, "%s%s", to, path + strlen(from));
  if (length < 0 || length >= PATH_MAX) fail("a path is too long: %s", path);
  return result;
}

int copy(int argc, char **argv)
{
  if (argc != 3) fail("usage: holdfast-layer copy FROM TO");
  const char *from = argv[1], *to = argv[2];
  struct archive *tree = archive_read_disk_new(), *disk = archive_write_disk_new();
  struct archive_entry_linkresolver *links = archive_entry_linkresolver_new();
  struct archive_entry *entry = archive_entry_new(), *spare = NULL;
  if (tree == NULL || disk == NULL || links == NULL || entry == NULL) fail("out of memory");
  archive_entry_linkresolver_set_strategy(links, ARCHIVE_FORMAT_TAR_PAX_RESTRICTED);
  archive_read_disk_set_symlink_physical(tree);
  archive_read_disk_set_behavior(tree, ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS | ARCHIVE_READDISK_NO_FFLAGS);
  archive_write_disk_set_options(disk, EXTRACT_FLAGS);
  if (archive_read_disk_open(tree, from) != ARCHIVE_OK) fail("cannot read %s: %s", from, archive_error_string(tree));
  int status;
  while ((status = archive_read_next_header2(tree, entry)) == ARCHIVE_OK || status == ARCHIVE_WARN) {
    archive_read_disk_descend(tree);
    char path[PATH_MAX];
    archive_entry_set_pathname(entry, moved(archive_entry_pathname(entry), from, to, path));
    archive_entry_linkify(links, &entry, &spare);
    if (entry != NULL) copy_entry(tree, disk, entry);
    else entry = archive_entry_new();
    archive_entry_clear(entry);
  }
  if (status != ARCHIVE_EOF) fail("cannot read %s: %s", from, archive_error_string(tree));
  if (archive_write_free(disk) != ARCHIVE_OK) fail("cannot finish %s", to);
  return 0;
}
