// Files of a container's root, for whoever copies them: the root is the process's own, so that no link leads out of it.
//   look ROOT BASE PATH [TYPE SOURCE FLAGS DATA]...           a line of JSON: what is there, links followed
//   take ROOT BASE PATH FOLLOW [TYPE SOURCE FLAGS DATA]...    a tar of it on stdout; of what is in it, if PATH ends by "/."
//   put  ROOT BASE PATH NAME OWNER [TYPE SOURCE FLAGS DATA]... < tar    into the directory PATH. NAME, if not empty, is put in the place of the first part
//                                                             of each path; OWNER is UID:GID, or empty for the entries' own
// The mounts are made on ROOT; without any ROOT is a root directory as it is, such as /proc/PID/root.
#define _GNU_SOURCE
#include <archive.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer.h"
#include "walk.h"

static const int reading[] = {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH};
static const int writing[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP};

// `words` are ROOT and BASE, and `mounts` what is to be mounted.
static void enter(char **words, int count, char **mounts, const int *kept, size_t kept_count)
{
  if (count > 0) {
    own_mounts();
    mount_all(words[0], words[1], count, mounts);
  }
  enter_root(words[0]);
  keep_capabilities(kept, kept_count);
}

int look(int argc, char **argv)
{
  if (argc < 4 || argc % 4 != 0) fail("usage: holdfast-layer look ROOT BASE PATH [TYPE SOURCE FLAGS DATA]...");
  enter(argv + 1, argc - 4, argv + 4, reading, sizeof reading / sizeof *reading);
  struct stat about;
  const char *kind = "other";
  if (stat(argv[3], &about) < 0) {
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) fail("%s: %s", argv[3], strerror(errno));
    kind = lstat(argv[3], &about) == 0 ? "dangling" : "none";
    about.st_mode = 0;
  }
  if (S_ISDIR(about.st_mode)) kind = "directory";
  else if (S_ISREG(about.st_mode)) kind = "file";
  printf("{\"kind\":\"%s\"}\n", kind);
  return fflush(stdout) == 0 ? 0 : 1;
}

// The last part of a path; the rest is cut off it.
static char *split(char path[PATH_MAX])
{
  for (size_t length = strlen(path); length > 1 && path[length - 1] == '/'; length--) path[length - 1] = 0;
  char *slash = strrchr(path, '/');
  if (slash == NULL) fail("%s: no absolute path", path);
  *slash = 0;
  return slash + 1;
}

static int open_at(const char *path)
{
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail("%s: %s", path, strerror(errno));
  return fd;
}

static void take_all(struct walk *walk, char *path)
{
  struct stat about;
  size_t length = strlen(path);
  int is_content = strcmp(path, "/") == 0 || (length > 2 && strcmp(path + length - 2, "/.") == 0);
  char *name = is_content ? NULL : split(path);
  int directory = open_at(is_content || path[0] != 0 ? path : "/");
  if (fstat(directory, &about) < 0) fail("%s: %s", path, strerror(errno));
  walk_enter(walk, NULL, directory, &about, !is_content);
  if (is_content) {
    walk_add_parents(walk);
    walk_content(walk, directory);
  } else if (fstatat(directory, name, &about, AT_SYMLINK_NOFOLLOW) < 0) fail("%s/%s: %s", path, name, strerror(errno));
  else walk_tree(walk, directory, name, &about);
  walk_leave(walk);
  close(directory);
}

int take(int argc, char **argv)
{
  if (argc < 5 || (argc - 5) % 4 != 0) fail("usage: holdfast-layer take ROOT BASE PATH FOLLOW [TYPE SOURCE FLAGS DATA]...");
  enter(argv + 1, argc - 5, argv + 5, reading, sizeof reading / sizeof *reading);
  char path[PATH_MAX];
  if (strlen(argv[3]) >= sizeof path) fail("%.64s…: the path is too long", argv[3]);
  if (strcmp(argv[4], "1") == 0) {
    if (realpath(argv[3], path) == NULL) fail("%s: %s", argv[3], strerror(errno));
  } else strcpy(path, argv[3]);
  struct sink sink;
  sink_open(&sink, "none");
  struct walk *walk = walk_new(sink.tar, WALK_PLAIN, -1);
  take_all(walk, path);
  walk_free(walk);
  char hex[DIGEST_HEX + 1];
  sink_finish(&sink, hex);
  return 0;
}

int put(int argc, char **argv)
{
  if (argc < 6 || (argc - 6) % 4 != 0) fail("usage: holdfast-layer put ROOT BASE PATH NAME OWNER [TYPE SOURCE FLAGS DATA]... < tar");
  enter(argv + 1, argc - 6, argv + 6, writing, sizeof writing / sizeof *writing);
  if (chdir(argv[3]) < 0) fail("%s: %s", argv[3], strerror(errno));
  struct owner owner;
  int is_owned = sscanf(argv[5], "%" SCNd64 ":%" SCNd64, &owner.uid, &owner.gid) == 2;
  struct limits none = {0};
  struct stream stream;
  stream_open(&stream, &none);
  struct placing placing = {.name = argv[4][0] == 0 ? NULL : argv[4], .owner = is_owned ? &owner : NULL};
  extract_all(&stream, &none, &placing);
  char hex[DIGEST_HEX + 1];
  stream_finish(&stream, hex);
  return 0;
}
