// The other way of stream.c: entries become a tar, whose bytes are counted, hashed and packed. The same entries give the same bytes.
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"

static la_ssize_t write_unpacked(struct archive *tar, void *context, const void *bytes, size_t count)
{
  struct sink *sink = context;
  sha256_update(sink->digest, count, bytes);
  sink->unpacked += count;
  if (archive_write_data(sink->packed, bytes, count) == (la_ssize_t)count) return (la_ssize_t)count;
  archive_set_error(tar, archive_errno(sink->packed), "%s", archive_error_string(sink->packed));
  return ARCHIVE_FATAL;
}

static void set_compression(struct archive *packed, const char *compression)
{
  int status = ARCHIVE_OK;
  if (strcmp(compression, "gzip") == 0) {
    status = archive_write_add_filter_gzip(packed);
    // No time in the header: the same layer is the same bytes.
    if (status == ARCHIVE_OK) status = archive_write_set_filter_option(packed, "gzip", "timestamp", NULL);
  } else if (strcmp(compression, "zstd") == 0) status = archive_write_add_filter_zstd(packed);
  else if (strcmp(compression, "none") != 0) fail("%s: no compression that layers have", compression);
  if (status != ARCHIVE_OK) fail("cannot pack the layer: %s", archive_error_string(packed));
}

void sink_open(struct sink *sink, const char *compression)
{
  memset(sink, 0, sizeof *sink);
  sink->digest = malloc(sizeof(struct sha256_ctx));
  sink->packed = archive_write_new();
  sink->tar = archive_write_new();
  struct archive_entry *whole = archive_entry_new();
  if (sink->digest == NULL || sink->packed == NULL || sink->tar == NULL || whole == NULL) fail("out of memory");
  sha256_init(sink->digest);
  archive_write_set_format_raw(sink->packed);
  set_compression(sink->packed, compression);
  archive_write_set_bytes_in_last_block(sink->packed, 1);
  archive_entry_set_filetype(whole, AE_IFREG);
  if (archive_write_open_fd(sink->packed, STDOUT_FILENO) != ARCHIVE_OK || archive_write_header(sink->packed, whole) != ARCHIVE_OK)
    fail("cannot write the layer: %s", archive_error_string(sink->packed));
  archive_entry_free(whole);
  archive_write_set_format_pax_restricted(sink->tar);
  archive_write_set_format_option(sink->tar, "pax", "xattrheader", "SCHILY");
  archive_write_set_bytes_per_block(sink->tar, 32 << 10);
  archive_write_set_bytes_in_last_block(sink->tar, 512);
  if (archive_write_open(sink->tar, sink, NULL, write_unpacked, NULL) != ARCHIVE_OK)
    fail("cannot write the layer: %s", archive_error_string(sink->tar));
}

void sink_finish(struct sink *sink, char hex[DIGEST_HEX + 1])
{
  if (archive_write_close(sink->tar) != ARCHIVE_OK) fail("cannot write the layer: %s", archive_error_string(sink->tar));
  if (archive_write_close(sink->packed) != ARCHIVE_OK) fail("cannot write the layer: %s", archive_error_string(sink->packed));
  uint8_t bytes[SHA256_DIGEST_SIZE];
  sha256_digest(sink->digest, sizeof bytes, bytes);
  for (size_t i = 0; i < sizeof bytes; i++) sprintf(hex + 2 * i, "%02x", bytes[i]);
  archive_write_free(sink->tar);
  archive_write_free(sink->packed);
  free(sink->digest);
}
