// The file system by path.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host.h"

enum { MAX_FILE = 1 << 30, FIRST_CHUNK = 4096 };

// Reads all of `fd` into a block from malloc. Returns 0 or an errno, EFBIG if there are more than `max` bytes.
static int read_all(int fd, size_t max, uint8_t **result, size_t *length)
{
  struct stat status;
  // Files of procfs say that they are empty; the size is only a first guess. One byte more shows the end without growing.
  size_t room = fstat(fd, &status) == 0 && status.st_size > 0 ? (size_t)status.st_size + 1 : FIRST_CHUNK;
  if (room > max + 1) room = max + 1;
  uint8_t *bytes = malloc(room);
  size_t used = 0;
  while (bytes != NULL) {
    ssize_t n = read(fd, bytes + used, room - used);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      int error = n < 0 ? errno : 0;
      if (error) free(bytes);
      *result = bytes;
      *length = used;
      return error;
    }
    used += (size_t)n;
    if (used > max) {
      free(bytes);
      return EFBIG;
    }
    if (used < room) continue;
    room = room > (max + 1) / 2 ? max + 1 : room * 2;
    uint8_t *grown = realloc(bytes, room);
    if (grown == NULL) free(bytes);
    bytes = grown;
  }
  return ENOMEM;
}

static JSValue host_read_file(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t max;
  if (arg_int(ctx, argv[1], 0, MAX_FILE, &max) < 0) return JS_EXCEPTION;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  JSValue result;
  // Non-blocking, so that a fifo in place of a file cannot hang the process.
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) {
    result = throw_errno(ctx, errno, "openat", path);
  } else {
    uint8_t *bytes;
    size_t length;
    int error = read_all(fd, (size_t)max, &bytes, &length);
    close(fd);
    result = error ? throw_errno(ctx, error, "read", path) : new_bytes(ctx, bytes, length);
  }
  JS_FreeCString(ctx, path);
  return result;
}

static const char *kind_of(mode_t mode)
{
  switch (mode & S_IFMT) {
  case S_IFDIR: return "directory";
  case S_IFIFO: return "fifo";
  case S_IFSOCK: return "socket";
  case S_IFLNK: return "symlink";
  case S_IFCHR: return "character";
  case S_IFBLK: return "block";
  default: return "file";
  }
}

static JSValue new_stat(JSContext *ctx, const struct stat *status)
{
  JSValue object = JS_NewObject(ctx);
  if (JS_IsException(object)) return object;
  if (set_field(ctx, object, "kind", JS_NewString(ctx, kind_of(status->st_mode))) < 0 ||
      set_field(ctx, object, "mode", JS_NewInt32(ctx, (int32_t)(status->st_mode & 07777))) < 0 ||
      set_field(ctx, object, "uid", JS_NewInt64(ctx, status->st_uid)) < 0 ||
      set_field(ctx, object, "gid", JS_NewInt64(ctx, status->st_gid)) < 0 ||
      set_field(ctx, object, "size", JS_NewInt64(ctx, status->st_size)) < 0 ||
      set_field(ctx, object, "device", JS_NewFloat64(ctx, (double)status->st_dev)) < 0 ||
      set_field(ctx, object, "inode", JS_NewFloat64(ctx, (double)status->st_ino)) < 0) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static JSValue host_stat_path(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  struct stat status;
  JSValue result;
  if (lstat(path, &status) == 0) result = new_stat(ctx, &status);
  else if (errno == ENOENT || errno == ENOTDIR) result = JS_NULL;
  else result = throw_errno(ctx, errno, "lstat", path);
  JS_FreeCString(ctx, path);
  return result;
}

static JSValue host_stat_fd(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  struct stat status;
  return fstat(fd, &status) < 0 ? throw_errno(ctx, errno, "fstat", NULL) : new_stat(ctx, &status);
}

// What the calls with one path do; one JavaScript function each, by magic number.
enum path_call { MAKE_DIRECTORY, REMOVE_DIRECTORY, UNLINK };
static const char *const path_call_names[] = {"mkdir", "rmdir", "unlink"};

static JSValue host_path_call(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int magic)
{
  (void)self;
  int64_t mode = 0;
  if (magic == MAKE_DIRECTORY && (argc < 2 || arg_int(ctx, argv[1], 0, 07777, &mode) < 0)) return JS_EXCEPTION;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  int done = -1;
  switch ((enum path_call)magic) {
  case MAKE_DIRECTORY: done = mkdir(path, (mode_t)mode); break;
  case REMOVE_DIRECTORY: done = rmdir(path); break;
  case UNLINK: done = unlink(path); break;
  }
  JSValue result = done < 0 ? throw_errno(ctx, errno, path_call_names[magic], path) : JS_UNDEFINED;
  JS_FreeCString(ctx, path);
  return result;
}

static JSValue host_chown_fd(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t uid, gid;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], -1, UINT32_MAX, &uid) < 0 ||
      arg_int(ctx, argv[2], -1, UINT32_MAX, &gid) < 0) {
    return JS_EXCEPTION;
  }
  return fchown(fd, (uid_t)uid, (gid_t)gid) < 0 ? throw_errno(ctx, errno, "fchown", NULL) : JS_UNDEFINED;
}

static JSValue host_rename(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *from = arg_string(ctx, argv[0]), *to = from ? arg_string(ctx, argv[1]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (to != NULL) result = rename(from, to) < 0 ? throw_errno(ctx, errno, "rename", from) : JS_UNDEFINED;
  JS_FreeCString(ctx, from);
  JS_FreeCString(ctx, to);
  return result;
}

static JSValue names_in(JSContext *ctx, DIR *directory, const char *path)
{
  JSValue names = JS_NewArray(ctx);
  uint32_t count = 0;
  for (;;) {
    errno = 0;
    struct dirent *entry = readdir(directory);
    if (entry == NULL && errno == 0) return names;
    if (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)) continue;
    if (entry == NULL) throw_errno(ctx, errno, "getdents64", path);
    else if (JS_DefinePropertyValueUint32(ctx, names, count++, new_text(ctx, entry->d_name, strlen(entry->d_name)), JS_PROP_C_W_E) >= 0) continue;
    JS_FreeValue(ctx, names);
    return JS_EXCEPTION;
  }
}

static JSValue host_list_directory(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  DIR *directory = opendir(path); // close-on-exec
  JSValue result = directory ? names_in(ctx, directory, path) : throw_errno(ctx, errno, "openat", path);
  if (directory != NULL) closedir(directory);
  JS_FreeCString(ctx, path);
  return result;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("readFile", 2, host_read_file),
    JS_CFUNC_DEF("statPath", 1, host_stat_path),
    JS_CFUNC_DEF("statFd", 1, host_stat_fd),
    JS_CFUNC_MAGIC_DEF("makeDirectory", 2, host_path_call, MAKE_DIRECTORY),
    JS_CFUNC_MAGIC_DEF("removeDirectory", 1, host_path_call, REMOVE_DIRECTORY),
    JS_CFUNC_MAGIC_DEF("unlink", 1, host_path_call, UNLINK),
    JS_CFUNC_DEF("chownFd", 3, host_chown_fd),
    JS_CFUNC_DEF("rename", 2, host_rename),
    JS_CFUNC_DEF("listDirectory", 1, host_list_directory),
};
HOST_EXPORTS(files_exports, entries);
