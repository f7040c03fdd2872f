// Open descriptors: files, pipes, eventfds. The caller owns every descriptor; nothing here closes what it was given but close().
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "host.h"

enum { MAX_READ = 64 << 20 };

static JSValue host_open(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  int64_t flags, mode = 0;
  if (arg_int(ctx, argv[1], 0, INT32_MAX, &flags) < 0) return JS_EXCEPTION;
  if (argc > 2 && !JS_IsUndefined(argv[2]) && arg_int(ctx, argv[2], 0, 07777, &mode) < 0) return JS_EXCEPTION;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  int fd = open(path, (int)flags | O_CLOEXEC | O_NOCTTY, (mode_t)mode);
  JSValue result = fd < 0 ? throw_errno(ctx, errno, "openat", path) : JS_NewInt32(ctx, fd);
  JS_FreeCString(ctx, path);
  return result;
}

static JSValue host_close(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  // The number may be another file's in a moment; a relay would then move the wrong bytes.
  if (relay_uses(fd)) return throw_errno(ctx, EBUSY, "close", NULL);
  loop_forget(fd);
  // Linux has closed the descriptor even when it says EINTR.
  if (close(fd) < 0 && errno != EINTR) return throw_errno(ctx, errno, "close", NULL);
  return JS_UNDEFINED;
}

static JSValue host_read(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t max;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], 1, MAX_READ, &max) < 0) return JS_EXCEPTION;
  uint8_t *bytes = malloc((size_t)max);
  if (bytes == NULL) return JS_ThrowOutOfMemory(ctx);
  ssize_t n;
  do n = read(fd, bytes, (size_t)max);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    int error = errno;
    free(bytes);
    return error == EAGAIN ? JS_NULL : throw_errno(ctx, error, "read", NULL);
  }
  if (n < max) {
    uint8_t *shrunk = realloc(bytes, n > 0 ? (size_t)n : 1);
    if (shrunk != NULL) bytes = shrunk;
  }
  return new_bytes(ctx, bytes, (size_t)n);
}

static JSValue host_write(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  const uint8_t *bytes;
  size_t length;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_bytes(ctx, argv[1], &bytes, &length) < 0) return JS_EXCEPTION;
  ssize_t n;
  do n = write(fd, bytes, length);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return JS_NewInt64(ctx, n);
  return errno == EAGAIN ? JS_NewInt32(ctx, -1) : throw_errno(ctx, errno, "write", NULL);
}

static JSValue host_pipe(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return throw_errno(ctx, errno, "pipe2", NULL);
  JSValue pair = JS_NewArray(ctx);
  for (uint32_t i = 0; i < 2; i++) {
    if (JS_DefinePropertyValueUint32(ctx, pair, i, JS_NewInt32(ctx, ends[i]), JS_PROP_C_W_E) >= 0) continue;
    JS_FreeValue(ctx, pair);
    close(ends[0]);
    close(ends[1]);
    return JS_EXCEPTION;
  }
  return pair;
}

static JSValue host_set_non_blocking(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return throw_errno(ctx, errno, "fcntl", NULL);
  flags = JS_ToBool(ctx, argv[1]) ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  return fcntl(fd, F_SETFL, flags) < 0 ? throw_errno(ctx, errno, "fcntl", NULL) : JS_UNDEFINED;
}

static JSValue host_duplicate(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? throw_errno(ctx, errno, "fcntl", NULL) : JS_NewInt32(ctx, copy);
}

static JSValue host_duplicate_to(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int from, to;
  if (arg_fd(ctx, argv[0], &from) < 0 || arg_fd(ctx, argv[1], &to) < 0) return JS_EXCEPTION;
  int flags = to <= 2 ? 0 : FD_CLOEXEC;
  int done = from == to ? fcntl(to, F_SETFD, flags) : dup3(from, to, flags ? O_CLOEXEC : 0);
  return done < 0 ? throw_errno(ctx, errno, "dup3", NULL) : JS_UNDEFINED;
}

static JSValue host_readable_bytes(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd, count = 0;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  return ioctl(fd, FIONREAD, &count) < 0 ? throw_errno(ctx, errno, "ioctl", NULL) : JS_NewInt32(ctx, count);
}

static JSValue host_peer_closed(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd, n;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  struct pollfd entry = {.fd = fd};
  do n = poll(&entry, 1, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0) return throw_errno(ctx, errno, "poll", NULL);
  if (fd < 0 || entry.revents & POLLNVAL) return throw_errno(ctx, EBADF, "poll", NULL);
  return JS_NewBool(ctx, (entry.revents & (POLLERR | POLLHUP)) != 0);
}

static JSValue host_set_pipe_capacity(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t bytes;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], 0, INT32_MAX, &bytes) < 0) return JS_EXCEPTION;
  if (fcntl(fd, F_SETPIPE_SZ, (int)bytes) < 0) return throw_errno(ctx, errno, "fcntl", NULL);
  return JS_UNDEFINED;
}

static JSValue host_event_fd(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return fd < 0 ? throw_errno(ctx, errno, "eventfd", NULL) : JS_NewInt32(ctx, fd);
}

static JSValue host_memory_file(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *name = arg_string(ctx, argv[0]);
  if (name == NULL) return JS_EXCEPTION;
  int fd = memfd_create(name, MFD_CLOEXEC);
  JS_FreeCString(ctx, name);
  return fd < 0 ? throw_errno(ctx, errno, "memfd_create", NULL) : JS_NewInt32(ctx, fd);
}

static const JSCFunctionListEntry entries[] = {
    JS_PROP_INT32_DEF("O_RDONLY", O_RDONLY, 0),
    JS_PROP_INT32_DEF("O_WRONLY", O_WRONLY, 0),
    JS_PROP_INT32_DEF("O_RDWR", O_RDWR, 0),
    JS_PROP_INT32_DEF("O_PATH", O_PATH, 0),
    JS_PROP_INT32_DEF("O_NOFOLLOW", O_NOFOLLOW, 0),
    JS_PROP_INT32_DEF("O_CREAT", O_CREAT, 0),
    JS_PROP_INT32_DEF("O_EXCL", O_EXCL, 0),
    JS_PROP_INT32_DEF("O_TRUNC", O_TRUNC, 0),
    JS_PROP_INT32_DEF("O_APPEND", O_APPEND, 0),
    JS_PROP_INT32_DEF("O_NONBLOCK", O_NONBLOCK, 0),
    JS_PROP_INT32_DEF("O_DIRECTORY", O_DIRECTORY, 0),
    JS_CFUNC_DEF("open", 2, host_open),
    JS_CFUNC_DEF("close", 1, host_close),
    JS_CFUNC_DEF("read", 2, host_read),
    JS_CFUNC_DEF("write", 2, host_write),
    JS_CFUNC_DEF("pipe", 0, host_pipe),
    JS_CFUNC_DEF("setNonBlocking", 2, host_set_non_blocking),
    JS_CFUNC_DEF("duplicate", 1, host_duplicate),
    JS_CFUNC_DEF("duplicateTo", 2, host_duplicate_to),
    JS_CFUNC_DEF("readableBytes", 1, host_readable_bytes),
    JS_CFUNC_DEF("peerClosed", 1, host_peer_closed),
    JS_CFUNC_DEF("setPipeCapacity", 2, host_set_pipe_capacity),
    JS_CFUNC_DEF("eventFd", 0, host_event_fd),
    JS_CFUNC_DEF("memoryFile", 1, host_memory_file),
};
HOST_EXPORTS(fd_exports, entries);
