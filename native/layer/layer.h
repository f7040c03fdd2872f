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
  char input[64 << 10];
};

enum { DIGEST_HEX = 64 };

// Opens the layer on stdin; `stream->tar` then reads its entries. Ends the program if that fails.
void stream_open(struct stream *stream, const struct limits *limits);
// Reads to the end of what came, which lies behind the end of the archive. Writes the digest in hex.
void stream_finish(struct stream *stream, char hex[DIGEST_HEX + 1]);

// Unpacks every entry into the root directory. Returns their number.
uint64_t extract_all(struct stream *stream, const struct limits *limits);

// Takes `path`, with all that is below it, away. A path that is not there is fine. Ends the program if that fails.
void remove_tree(const char *path);

// What this layer has made: a directory that it makes opaque keeps that.
void seen_add(const char *path);
int seen_has(const char *path);

// The verbs; argv[0] is the verb. They return the exit status.
int unpack(int argc, char **argv);
int copy(int argc, char **argv);

// What is restored of each file, as archive_write_disk has it.
enum { EXTRACT_FLAGS = ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_XATTR };
// Whether writing an entry went well.
int is_well(struct archive *to, int status);
// The data of the entry that `from` is at.
void copy_data(struct archive *from, struct archive *to, const char *path);

// Says what went wrong, on what, and ends with status 1.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
