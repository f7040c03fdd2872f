// diff COMPRESSION LATEST LEFT BASE COUNT [TYPE SOURCE FLAGS DATA]... RIGHT BASE [TYPE SOURCE FLAGS DATA]... > layer
// The layer that makes RIGHT of LEFT: what is new or different, and whiteouts for what is gone, in the order of the names. COUNT is the number of the
// words of LEFT's mounts; LATEST, if it is not negative, the latest time that an entry may have. Descriptor 3 gets one line of JSON: digest and size of
// the uncompressed layer. COMPRESSION may be "list": the changes as WALK_LIST has them, and no report. A container may run on RIGHT meanwhile: nothing that it puts in the place of a directory or a file leads out of it.
#define _GNU_SOURCE
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"
#include "walk.h"

enum { REPORT_FD = 3 };

// Whoever may read everything, and change nothing.
static const int kept_capabilities[] = {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};

static int same_time(const struct timespec *a, const struct timespec *b)
{
  return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int same_content(int left, int right, const char *name)
{
  char a[32 << 10], b[32 << 10];
  int from = openat(left, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  int to = openat(right, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  int same = from >= 0 && to >= 0;
  while (same) {
    ssize_t x = read(from, a, sizeof a), y = read(to, b, sizeof b);
    if (x != y || x < 0 || memcmp(a, b, (size_t)x) != 0) same = 0;
    else if (x == 0) break;
  }
  if (from >= 0) close(from);
  if (to >= 0) close(to);
  return same;
}

static int same_link(int left, int right, const char *name)
{
  char a[PATH_MAX], b[PATH_MAX];
  ssize_t x = readlinkat(left, name, a, sizeof a), y = readlinkat(right, name, b, sizeof b);
  return x >= 0 && x == y && memcmp(a, b, (size_t)x) == 0;
}

static int same_attributes(int left, int right, const char *name)
{
  struct attributes a, b;
  attributes_read(left, name, &a);
  attributes_read(right, name, &b);
  int same = attributes_equal(&a, &b);
  attributes_free(&a);
  attributes_free(&b);
  return same;
}

// Whether RIGHT's file is LEFT's: for a directory what it is itself, not what is in it.
static int is_same(int left, const struct stat *a, int right, const struct stat *b, const char *name)
{
  if (a->st_mode != b->st_mode || a->st_uid != b->st_uid || a->st_gid != b->st_gid) return 0;
  if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) && a->st_rdev != b->st_rdev) return 0;
  if (S_ISLNK(a->st_mode)) return same_link(left, right, name);
  if (!S_ISREG(a->st_mode)) return !S_ISDIR(a->st_mode) || same_attributes(left, right, name);
  if (a->st_size != b->st_size || a->st_mtim.tv_sec != b->st_mtim.tv_sec) return 0;
  // One file under both: nothing of it has been changed without its ctime.
  if (a->st_ino == b->st_ino && same_time(&a->st_ctim, &b->st_ctim) && same_time(&a->st_mtim, &b->st_mtim)) return 1;
  // A layer's times are whole seconds: such a time says nothing of what was written in that second.
  int exact = same_time(&a->st_mtim, &b->st_mtim) && a->st_mtim.tv_nsec != 0;
  return (exact || same_content(left, right, name)) && same_attributes(left, right, name);
}

static void compare(struct walk *walk, int left, int right);

// What is below a directory, which LEFT has if `left`, where it would be, is not negative.
static void enter(struct walk *walk, int left, int right, const char *name, const struct stat *about, int written)
{
  int below = open_directory(right, name);
  if (below < 0) return; // gone since
  int was = left < 0 ? -1 : open_directory(left, name);
  walk_enter(walk, name, below, about, written);
  compare(walk, was, below);
  walk_leave(walk);
  if (was >= 0) close(was);
  close(below);
}

static void both(struct walk *walk, int left, const struct stat *before, int right, const struct stat *about, const char *name)
{
  int was_directory = S_ISDIR(before->st_mode), is_directory = S_ISDIR(about->st_mode);
  int same = is_same(left, before, right, about, name);
  if (same) walk_kept(walk, name, about);
  else walk_add(walk, right, name, about, 1);
  if (is_directory) enter(walk, was_directory ? left : -1, right, name, about, !same);
}

// The directory `right` against `left`, which is negative where LEFT has none.
static void compare(struct walk *walk, int left, int right)
{
  struct names before, now;
  names_read(left, &before);
  names_read(right, &now);
  for (size_t i = 0, j = 0; i < before.count || j < now.count;) {
    int order = i == before.count ? 1 : j == now.count ? -1 : strcmp(before.names[i], now.names[j]);
    struct stat a, b;
    const char *name = order < 0 ? before.names[i] : now.names[j];
    int was = order <= 0 && stat_at(left, name, &a) == 0, is = order >= 0 && stat_at(right, name, &b) == 0;
    if (was && is) both(walk, left, &a, right, &b, name);
    else if (is) walk_tree(walk, right, name, &b);
    else if (was) walk_gone(walk, name);
    i += order <= 0;
    j += order >= 0;
  }
  names_free(&before);
  names_free(&now);
}

static void compare_roots(struct walk *walk, int left, int right)
{
  struct stat a, b;
  if (fstat(left, &a) < 0 || fstat(right, &b) < 0) fail("stat: %s", strerror(errno));
  int same = is_same(left, &a, right, &b, ".");
  walk_enter(walk, NULL, right, &b, same);
  if (!same) walk_add_parents(walk);
  compare(walk, left, right);
  walk_leave(walk);
}

static int open_root(const char *path)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail("cannot open %s: %s", path, strerror(errno));
  return fd;
}

int diff(int argc, char **argv)
{
  int count = argc < 8 ? -1 : atoi(argv[5]);
  if (count < 0 || count % 4 != 0 || argc < 8 + count || (argc - 8 - count) % 4 != 0)
    fail("usage: holdfast-layer diff COMPRESSION LATEST LEFT BASE COUNT [TYPE SOURCE FLAGS DATA]... RIGHT BASE [TYPE SOURCE FLAGS DATA]...");
  char **right_words = argv + 6 + count;
  own_mounts();
  mount_all(argv[3], argv[4], count, argv + 6);
  mount_all(right_words[0], right_words[1], argc - 8 - count, right_words + 2);
  int left = open_root(argv[3]), right = open_root(right_words[0]);
  keep_capabilities(kept_capabilities, sizeof kept_capabilities / sizeof *kept_capabilities);
  if (strcmp(argv[1], "list") == 0) {
    struct walk *walk = walk_new(NULL, WALK_LIST, -1);
    compare_roots(walk, left, right);
    walk_free(walk);
    return fflush(stdout) == 0 ? 0 : 1;
  }
  struct sink sink;
  sink_open(&sink, argv[1]);
  struct walk *walk = walk_new(sink.tar, WALK_LAYER, strtoll(argv[2], NULL, 10));
  compare_roots(walk, left, right);
  walk_free(walk);
  char hex[DIGEST_HEX + 1];
  sink_finish(&sink, hex);
  if (dprintf(REPORT_FD, "{\"digest\":\"sha256:%s\",\"size\":%" PRIu64 "}\n", hex, sink.unpacked) < 0)
    fail("cannot report: %s", strerror(errno));
  return 0;
}
