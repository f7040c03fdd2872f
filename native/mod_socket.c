// Unix sockets and terminals. Descriptors made or received here are the caller's.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "host.h"

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == 108, "the limit that throw_address names");

enum { MAX_RECEIVE = 1 << 20, MAX_PASSED = 16, BACKLOG = 512 };

// Fills in the address. Returns 0 or ENAMETOOLONG. A leading NUL (abstract socket) cannot occur: arg_string refuses it.
static int set_address(struct sockaddr_un *address, const char *path)
{
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  size_t length = strlen(path);
  if (length == 0) return ENOENT;
  if (length >= sizeof address->sun_path) return ENAMETOOLONG;
  memcpy(address->sun_path, path, length + 1);
  return 0;
}

static JSValue throw_address(JSContext *ctx, int error, const char *syscall, const char *path)
{
  return throw_because(ctx, error, syscall, path, error == ENAMETOOLONG ? "a socket path holds at most 107 bytes" : NULL);
}

// A listening socket, or -1 with errno and the step that failed. A file that it made and cannot use is removed.
static int listen_at(const struct sockaddr_un *address, mode_t mode, const char **step)
{
  *step = "socket";
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  // The file gets the socket's own mode less the umask: with both set before bind there is no moment with another mode.
  *step = "fchmod";
  int done = fchmod(fd, mode);
  if (done == 0) {
    *step = "bind";
    mode_t umask_before = umask(0);
    done = bind(fd, (const struct sockaddr *)address, sizeof *address);
    umask(umask_before);
  }
  if (done == 0) {
    *step = "listen";
    done = listen(fd, BACKLOG);
    if (done < 0) unlink(address->sun_path);
  }
  if (done == 0) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

static JSValue host_listen(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t mode;
  if (arg_int(ctx, argv[1], 0, 0777, &mode) < 0) return JS_EXCEPTION;
  const char *path = arg_string(ctx, argv[0]), *step = "bind";
  if (path == NULL) return JS_EXCEPTION;
  struct sockaddr_un address;
  int error = set_address(&address, path), fd = -1;
  if (error == 0 && (fd = listen_at(&address, (mode_t)mode, &step)) < 0) error = errno;
  JSValue result = error ? throw_address(ctx, error, step, path) : JS_NewInt32(ctx, fd);
  JS_FreeCString(ctx, path);
  return result;
}

static JSValue host_accept(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd, connection;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  do connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (connection < 0 && (errno == EINTR || errno == ECONNABORTED));
  if (connection < 0 && errno != EAGAIN) return throw_errno(ctx, errno, "accept4", NULL);
  return JS_NewInt32(ctx, connection);
}

static JSValue host_connect(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *path = arg_string(ctx, argv[0]), *step = "connect";
  if (path == NULL) return JS_EXCEPTION;
  struct sockaddr_un address;
  int error = set_address(&address, path), fd = -1;
  if (error == 0) {
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
      error = errno;
      step = "socket";
    } else if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
      error = errno;
      close(fd);
    }
  }
  JSValue result = error ? throw_address(ctx, error, step, path) : JS_NewInt32(ctx, fd);
  JS_FreeCString(ctx, path);
  return result;
}

static JSValue host_peer_credentials(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  struct ucred peer;
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return throw_errno(ctx, errno, "getsockopt", NULL);
  JSValue object = JS_NewObject(ctx);
  if (set_field(ctx, object, "pid", JS_NewInt32(ctx, peer.pid)) < 0 || set_field(ctx, object, "uid", JS_NewInt64(ctx, peer.uid)) < 0 ||
      set_field(ctx, object, "gid", JS_NewInt64(ctx, peer.gid)) < 0) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static JSValue host_send(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  const uint8_t *bytes;
  size_t length;
  int64_t offset;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_bytes(ctx, argv[1], &bytes, &length) < 0 ||
      arg_int(ctx, argv[2], 0, (int64_t)length, &offset) < 0) {
    return JS_EXCEPTION;
  }
  ssize_t n;
  do n = send(fd, bytes + offset, length - (size_t)offset, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return JS_NewInt64(ctx, n);
  return errno == EAGAIN ? JS_NewInt32(ctx, -1) : throw_errno(ctx, errno, "sendto", NULL);
}

static JSValue host_peek(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t max;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], 1, MAX_RECEIVE, &max) < 0) return JS_EXCEPTION;
  uint8_t *bytes = malloc((size_t)max);
  if (bytes == NULL) return JS_ThrowOutOfMemory(ctx);
  ssize_t n;
  do n = recv(fd, bytes, (size_t)max, MSG_PEEK | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    int error = errno;
    free(bytes);
    return error == EAGAIN ? JS_NULL : throw_errno(ctx, error, "recvfrom", NULL);
  }
  if (n < max) {
    uint8_t *shrunk = realloc(bytes, n > 0 ? (size_t)n : 1);
    if (shrunk != NULL) bytes = shrunk;
  }
  return new_bytes(ctx, bytes, (size_t)n);
}

// --- descriptor passing -----------------------------------------------------------------------------------------------

static void close_all(const int *fds, int count)
{
  for (int i = 0; i < count; i++) close(fds[i]);
}

// Copies the descriptors out of a received message; they are non-blocking from here on. Returns how many.
static int passed_fds(struct msghdr *message, int fds[MAX_PASSED])
{
  int count = 0;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    int n = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (int i = 0; i < n; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + (size_t)i * sizeof fd, sizeof fd);
      if (count == MAX_PASSED) {
        close(fd);
        continue;
      }
      int flags = fcntl(fd, F_GETFL);
      if (flags >= 0) fcntl(fd, F_SETFL, flags | O_NONBLOCK);
      fds[count++] = fd;
    }
  }
  return count;
}

// { bytes, fds }. Takes `bytes`; closes the descriptors if it fails.
static JSValue new_message(JSContext *ctx, uint8_t *bytes, size_t length, const int *fds, int count)
{
  JSValue object = JS_NewObject(ctx), array = JS_NewArray(ctx);
  int done = set_field(ctx, object, "bytes", new_bytes(ctx, bytes, length));
  for (int i = 0; done == 0 && i < count; i++) {
    done = JS_DefinePropertyValueUint32(ctx, array, (uint32_t)i, JS_NewInt32(ctx, fds[i]), JS_PROP_C_W_E) < 0 ? -1 : 0;
  }
  if (done == 0) done = set_field(ctx, object, "fds", JS_DupValue(ctx, array));
  JS_FreeValue(ctx, array);
  if (done == 0) return object;
  close_all(fds, count);
  JS_FreeValue(ctx, object);
  return JS_EXCEPTION;
}

static JSValue host_receive_descriptors(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t max;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], 1, MAX_RECEIVE, &max) < 0) return JS_EXCEPTION;
  uint8_t *bytes = malloc((size_t)max);
  if (bytes == NULL) return JS_ThrowOutOfMemory(ctx);
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(MAX_PASSED * sizeof(int))];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = (size_t)max};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t n;
  do n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n < 0) {
    int error = errno;
    free(bytes);
    return error == EAGAIN ? JS_NULL : throw_errno(ctx, error, "recvmsg", NULL);
  }
  int fds[MAX_PASSED], count = passed_fds(&message, fds);
  return new_message(ctx, bytes, (size_t)n, fds, count);
}

static JSValue host_resize_terminal(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t columns, rows;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], 0, UINT16_MAX, &columns) < 0 ||
      arg_int(ctx, argv[2], 0, UINT16_MAX, &rows) < 0) {
    return JS_EXCEPTION;
  }
  struct winsize size = {.ws_col = (unsigned short)columns, .ws_row = (unsigned short)rows};
  return ioctl(fd, TIOCSWINSZ, &size) < 0 ? throw_errno(ctx, errno, "ioctl", NULL) : JS_UNDEFINED;
}

static JSValue host_open_terminal_peer(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int master;
  if (arg_fd(ctx, argv[0], &master) < 0) return JS_EXCEPTION;
  int fd = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  return fd < 0 ? throw_errno(ctx, errno, "ioctl", NULL) : JS_NewInt32(ctx, fd);
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("listen", 2, host_listen),
    JS_CFUNC_DEF("accept", 1, host_accept),
    JS_CFUNC_DEF("connect", 1, host_connect),
    JS_CFUNC_DEF("peerCredentials", 1, host_peer_credentials),
    JS_CFUNC_DEF("receiveDescriptors", 2, host_receive_descriptors),
    JS_CFUNC_DEF("peek", 2, host_peek),
    JS_CFUNC_DEF("send", 3, host_send),
    JS_CFUNC_DEF("resizeTerminal", 3, host_resize_terminal),
    JS_CFUNC_DEF("openTerminalPeer", 1, host_open_terminal_peer),
};
HOST_EXPORTS(socket_exports, entries);
