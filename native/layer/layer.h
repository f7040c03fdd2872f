// holdfast-layer: turns layers into files and copies files, in a process of its own. What it unpacks is hostile, so it makes the snapshot its root and lets
// go of its privileges before it reads the first byte. src/images/layer-program.ts starts it.
#ifndef LAYER_H
#define LAYER_H

#include <archive.h>
#include <stdint.h>
#include <stdio.h>

// What a layer may be at the most; 0 for no limit.
struct limits {
  uint64_t entries;
  uint64_t bytes; // unpacked, the archive's own included
  uint64_t ratio; // unpacked to packed bytes, from some size on
};

// The uncompressed bytes of a layer: counted, and their digest taken.
struct stream {
  struct archive *source;
  struct archive *tar;
  const struct limits *limits;
  uint64_t packed;
  uint64_t unpacked;
  void *digest;
  int is_empty;
  char input[64 << 10];
};

enum { DIGEST_HEX = 64 };

// Opens what comes on stdin, packed or not, to be read block by block. Ends the program if that fails.
void stream_open_packed(struct stream *stream, const struct limits *limits);
// A block of the uncompressed bytes; 0 at their end, ARCHIVE_FATAL with an error at `blamed` if they make no sense. Holes cannot be: a raw stream has none.
la_ssize_t stream_read(struct stream *stream, struct archive *blamed, const void **buffer);
// Opens the layer on stdin; `stream->tar` then reads its entries. Ends the program if that fails.
void stream_open(struct stream *stream, const struct limits *limits);
// Reads to the end of what came, which lies behind the end of the archive. Writes the digest in hex.
void stream_finish(struct stream *stream, char hex[DIGEST_HEX + 1]);

struct owner {
  int64_t uid, gid;
};

// What becomes of entries.
struct placing {
  int is_layer;              // whiteouts take away
  const char *name;          // in place of the first part of every path; NULL for none
  const struct owner *owner; // of everything; NULL for the entries' own
};

// Unpacks every entry into the working directory. Returns their number.
uint64_t extract_all(struct stream *stream, const struct limits *limits, const struct placing *placing);

// Takes `path`, with all that is below it, away. A path that is not there is fine. Ends the program if that fails.
void remove_tree(const char *path);

// What this layer has made: a directory that it makes opaque keeps that.
void seen_add(const char *path);
int seen_has(const char *path);

// The verbs; argv[0] is the verb. They return the exit status.
int unpack(int argc, char **argv);
int copy(int argc, char **argv);
int expand(int argc, char **argv);
int diff(int argc, char **argv);
int look(int argc, char **argv);
int put(int argc, char **argv);
int take(int argc, char **argv);
int remove_trees(int argc, char **argv);

// A mount namespace of our own: what is mounted from here on goes with this process.
void own_mounts(void);
// Mounts `count` / 4 times TYPE SOURCE FLAGS DATA on `directory`; paths in them may be relative to `base`.
void mount_all(const char *directory, const char *base, int count, char **mounts);
// What is mounted on `directory` has no devices that can be opened, and no programs that can be run, as long as it is seen from here.
void mount_without_devices(const char *directory);
// Makes it the root and the working directory.
void enter_root(const char *directory);
// Gives up every other capability, for good.
void keep_capabilities(const int *kept, size_t count);

// A layer that is being written to stdout: packed, and the digest of the unpacked bytes taken.
struct sink {
  struct archive *packed;
  struct archive *tar;
  uint64_t unpacked;
  void *digest;
};

// Opens it; `compression` is "none", "gzip" or "zstd". Ends the program if that fails.
void sink_open(struct sink *sink, const char *compression);
// Writes the end. Writes the digest in hex.
void sink_finish(struct sink *sink, char hex[DIGEST_HEX + 1]);

// Extended attributes of a file that belong to a layer, in order.
struct attributes {
  size_t count;
  char **names;
  void **values;
  size_t *sizes;
};

// Those of `name` in the directory `at`; a link is not followed. Free them with attributes_free().
void attributes_read(int at, const char *name, struct attributes *found);
int attributes_equal(const struct attributes *a, const struct attributes *b);
void attributes_free(struct attributes *attributes);

// What is restored of each file, as archive_write_disk has it.
enum { EXTRACT_FLAGS = ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_XATTR };
// Whether writing an entry went well.
int is_well(struct archive *to, int status);
// The data of the entry that `from` is at.
void copy_data(struct archive *from, struct archive *to, const char *path);

// Says what went wrong, on what, and ends with status 1.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
