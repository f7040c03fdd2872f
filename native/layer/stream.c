// From packed bytes to entries: one libarchive handle undoes the compression (gzip, also of several members, zstd, bzip2, xz, or none), a second one reads
// the tar that comes out. In between the bytes are counted and hashed: the digest of the uncompressed layer is what images call it by.
#include <archive.h>
#include <errno.h>
#include <inttypes.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"

// A bomb shows itself from here on; less may well be zeros.
static const uint64_t ratio_matters_from = 64 << 20;

static la_ssize_t read_packed(struct archive *archive, void *context, const void **buffer)
{
  struct stream *stream = context;
  ssize_t count;
  do count = read(STDIN_FILENO, stream->input, sizeof stream->input);
  while (count < 0 && errno == EINTR);
  if (count < 0) {
    archive_set_error(archive, errno, "read: %s", strerror(errno));
    return ARCHIVE_FATAL;
  }
  stream->packed += (uint64_t)count;
  *buffer = stream->input;
  return count;
}

static void check_size(const struct stream *stream)
{
  const struct limits *limits = stream->limits;
  if (limits->bytes != 0 && stream->unpacked > limits->bytes)
    fail("the layer has more than the %" PRIu64 " bytes that it may have", limits->bytes);
  if (limits->ratio != 0 && stream->unpacked > ratio_matters_from && stream->unpacked / limits->ratio > stream->packed)
    fail("the layer unpacks to more than %" PRIu64 " times its size", limits->ratio);
}

la_ssize_t stream_read(struct stream *stream, struct archive *blamed, const void **buffer)
{
  size_t count = 0;
  la_int64_t offset;
  if (stream->is_empty) return 0;
  int status = archive_read_data_block(stream->source, buffer, &count, &offset);
  if (status == ARCHIVE_EOF) return 0;
  if (status < ARCHIVE_WARN) {
    if (blamed != stream->source) archive_set_error(blamed, archive_errno(stream->source), "%s", archive_error_string(stream->source));
    return ARCHIVE_FATAL;
  }
  stream->unpacked += count;
  check_size(stream);
  sha256_update(stream->digest, count, *buffer);
  return (la_ssize_t)count;
}

static la_ssize_t read_unpacked(struct archive *tar, void *context, const void **buffer)
{
  return stream_read(context, tar, buffer);
}

void stream_open_packed(struct stream *stream, const struct limits *limits)
{
  memset(stream, 0, sizeof *stream);
  stream->limits = limits;
  stream->digest = malloc(sizeof(struct sha256_ctx));
  stream->source = archive_read_new();
  if (stream->digest == NULL || stream->source == NULL) fail("out of memory");
  sha256_init(stream->digest);
  archive_read_support_filter_gzip(stream->source);
  archive_read_support_filter_zstd(stream->source);
  archive_read_support_filter_bzip2(stream->source);
  archive_read_support_filter_xz(stream->source);
  archive_read_support_format_raw(stream->source);
  archive_read_support_format_empty(stream->source);
  struct archive_entry *whole;
  if (archive_read_open(stream->source, stream, NULL, read_packed, NULL) != ARCHIVE_OK)
    fail("cannot read the layer: %s", archive_error_string(stream->source));
  int status = archive_read_next_header(stream->source, &whole);
  if (status != ARCHIVE_OK && status != ARCHIVE_EOF) fail("cannot read the layer: %s", archive_error_string(stream->source));
  // Not a byte: there is nothing that could be asked for data.
  stream->is_empty = status == ARCHIVE_EOF;
}

void stream_open(struct stream *stream, const struct limits *limits)
{
  stream_open_packed(stream, limits);
  stream->tar = archive_read_new();
  if (stream->tar == NULL) fail("out of memory");
  archive_read_support_format_tar(stream->tar);
  archive_read_support_format_empty(stream->tar);
  if (archive_read_open(stream->tar, stream, NULL, read_unpacked, NULL) != ARCHIVE_OK)
    fail("the layer is no tar archive: %s", archive_error_string(stream->tar));
}

void stream_finish(struct stream *stream, char hex[DIGEST_HEX + 1])
{
  const void *rest;
  la_ssize_t count;
  while ((count = stream_read(stream, stream->source, &rest)) > 0) continue;
  if (count < 0) fail("cannot read the layer: %s", archive_error_string(stream->source));
  uint8_t bytes[SHA256_DIGEST_SIZE];
  sha256_digest(stream->digest, sizeof bytes, bytes);
  for (size_t i = 0; i < sizeof bytes; i++) sprintf(hex + 2 * i, "%02x", bytes[i]);
  archive_read_free(stream->tar);
  archive_read_free(stream->source);
  free(stream->digest);
}
