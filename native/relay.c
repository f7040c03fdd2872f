// Relays: bytes from one descriptor to another inside the loop, with splice(2) or, where a side refuses it, through a small buffer.
// Bytes never enter JavaScript.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "host.h"

enum {
  SPLICE_CHUNK = 1 << 20, // the largest pipe an unprivileged process may ask for
  COPY_CHUNK = 32 << 10,
  MOVES_A_TURN = 16, // so that one busy stream cannot keep the others waiting
};

struct relay {
  struct watcher input, output; // `from` and `to`: only the one that is waited for is watched
  struct relay *next;
  uint64_t id, moved;
  uint64_t moved_at; // monotonic ns: when it last moved anything; its start before that
  int from, to;
  bool splices; // until a side refuses
  bool to_terminal, from_terminal;
  uint8_t *pending; // read and not yet written; from malloc, only while blocked
  size_t pending_offset, pending_length;
  JSValue end;
};

static struct relay *relays;
static uint64_t last_relay;

// Ends the relay and frees it, without a word.
static void drop(struct relay *relay)
{
  struct relay **link = &relays;
  while (*link != relay) link = &(*link)->next;
  *link = relay->next;
  loop_unwatch(&relay->input);
  loop_unwatch(&relay->output);
  free(relay->pending);
  JS_FreeValue(engine_context(), relay->end);
  free(relay);
}

static void finish(struct relay *relay, const char *why, int error)
{
  JSContext *ctx = engine_context();
  JSValue end = JS_DupValue(ctx, relay->end);
  drop(relay);
  const char *code = error ? strerrorname_np(error) : "";
  JSValue args[2] = {JS_NewString(ctx, why), JS_NewString(ctx, code ? code : "EIO")};
  engine_call(end, 2, (JSValueConst *)args);
  JS_FreeValue(ctx, args[0]);
  JS_FreeValue(ctx, args[1]);
  JS_FreeValue(ctx, end);
}

// What a step of the relay came to.
enum step { MOVED, WAIT_INPUT, WAIT_OUTPUT, END_OF_INPUT, READ_FAILED, WRITE_FAILED, REFUSED };

static short ready_now(int fd, short events)
{
  struct pollfd entry = {.fd = fd, .events = events};
  int n;
  do n = poll(&entry, 1, 0);
  while (n < 0 && errno == EINTR);
  return n < 0 ? 0 : entry.revents;
}

// splice says "would block" without saying which side.
static enum step blocked_side(const struct relay *relay)
{
  short input = ready_now(relay->from, POLLIN);
  if (input & POLLIN) return WAIT_OUTPUT;
  // Hung up and nothing left. An empty read tells the end even when `to` is full, where splice says "would block".
  if (input & (POLLHUP | POLLERR)) return REFUSED;
  return WAIT_INPUT;
}

static enum step splice_step(struct relay *relay, int *error)
{
  ssize_t n;
  do n = splice(relay->from, NULL, relay->to, NULL, SPLICE_CHUNK, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  while (n < 0 && errno == EINTR);
  if (n > 0) {
    relay->moved += (uint64_t)n;
    return MOVED;
  }
  if (n == 0) return END_OF_INPUT;
  *error = errno;
  switch (errno) {
  case EAGAIN: return blocked_side(relay);
  case EPIPE:
  case ENOSPC:
  case EFBIG:
  case EDQUOT: return WRITE_FAILED;
  // EINVAL: a terminal, an append-only file. Any other error does not say whose it is; reading and writing one by one does.
  default: return REFUSED;
  }
}

// Writes what is pending. MOVED when all is written; WAIT_OUTPUT keeps the rest.
static enum step write_pending(struct relay *relay, int *error)
{
  while (relay->pending_length > 0) {
    ssize_t n = write(relay->to, relay->pending + relay->pending_offset, relay->pending_length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return WAIT_OUTPUT;
    if (n < 0) {
      *error = errno;
      return WRITE_FAILED;
    }
    relay->moved += (uint64_t)n;
    relay->pending_offset += (size_t)n;
    relay->pending_length -= (size_t)n;
  }
  relay->pending_offset = 0;
  return MOVED;
}

// The buffer lives for one turn of the relay, or until what is in it could be written.
static void free_pending(struct relay *relay)
{
  if (relay->pending_length > 0) return;
  free(relay->pending);
  relay->pending = NULL;
}

static ssize_t read_some(int fd, uint8_t *buffer, size_t size)
{
  ssize_t n;
  do n = read(fd, buffer, size);
  while (n < 0 && errno == EINTR);
  return n;
}

static enum step copy_step(struct relay *relay, int *error)
{
  if (relay->pending == NULL && (relay->pending = malloc(COPY_CHUNK)) == NULL) {
    *error = ENOMEM;
    return READ_FAILED;
  }
  ssize_t n;
  n = read_some(relay->from, relay->pending, COPY_CHUNK);
  // A terminal's master may say EIO once ahead of the last output: the other side is closed, and what it wrote is still on its way. The next read has it.
  if (n < 0 && errno == EIO && relay->from_terminal) n = read_some(relay->from, relay->pending, COPY_CHUNK);
  if (n > 0) {
    relay->pending_length = (size_t)n;
    return write_pending(relay, error);
  }
  if (n == 0) return END_OF_INPUT;
  if (errno == EAGAIN) return WAIT_INPUT;
  // How a terminal's master says that nobody has the other side open now.
  if (errno == EIO && relay->from_terminal) return END_OF_INPUT;
  *error = errno;
  return READ_FAILED;
}

static enum step next_step(struct relay *relay, int *error)
{
  if (relay->pending_length > 0) {
    enum step step = write_pending(relay, error);
    if (step != MOVED) return step;
  }
  if (!relay->splices) return copy_step(relay, error);
  enum step step = splice_step(relay, error);
  if (step != REFUSED) return step;
  relay->splices = false;
  return copy_step(relay, error);
}

// Watches the side that is waited for, and only that one: a hang-up of the other cannot be masked and would spin the loop.
static int wait_for(struct relay *relay, bool output)
{
  if (output) {
    loop_unwatch(&relay->input);
    return loop_watch(&relay->output, relay->to, EPOLLOUT, true);
  }
  loop_unwatch(&relay->output);
  return loop_watch(&relay->input, relay->from, EPOLLIN, true);
}

// Moves what can be moved now. The relay is gone after this if it ended.
static void pump(struct relay *relay, bool output_broken)
{
  int error = 0;
  enum step step = MOVED;
  uint64_t moved = relay->moved;
  for (int i = 0; i < MOVES_A_TURN && step == MOVED; i++) step = next_step(relay, &error);
  free_pending(relay);
  if (relay->moved != moved) relay->moved_at = monotonic_ns();
  switch (step) {
  case END_OF_INPUT: finish(relay, "eof", 0); return;
  case READ_FAILED: finish(relay, "read", error); return;
  case WRITE_FAILED: finish(relay, "write", error); return;
  case WAIT_OUTPUT:
    if (output_broken) {
      // A terminal whose other side is closed: it takes nothing, gives no error, and its hang-up would wake the loop for ever.
      finish(relay, "write", relay->to_terminal ? EIO : EPIPE);
      return;
    }
    break;
  default: break;
  }
  error = wait_for(relay, step == WAIT_OUTPUT);
  if (error != 0) finish(relay, step == WAIT_OUTPUT ? "write" : "read", error);
}

static void input_ready(struct watcher *self, uint32_t events)
{
  (void)events;
  pump((struct relay *)((char *)self - offsetof(struct relay, input)), false);
}

static void output_ready(struct watcher *self, uint32_t events)
{
  pump((struct relay *)((char *)self - offsetof(struct relay, output)), (events & (EPOLLHUP | EPOLLERR)) != 0);
}

static struct relay *find(uint64_t id)
{
  for (struct relay *relay = relays; relay != NULL; relay = relay->next) {
    if (relay->id == id) return relay;
  }
  return NULL;
}

bool relay_uses(int fd)
{
  for (struct relay *relay = relays; relay != NULL; relay = relay->next) {
    if (relay->from == fd || relay->to == fd) return true;
  }
  return false;
}

void relay_stop_all(void)
{
  while (relays != NULL) drop(relays);
}

// Whether reads and writes of `fd` may block is its open file's flag; a relay must never block. Returns 0 or an errno.
static int make_non_blocking(int fd)
{
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return errno;
  if (flags & O_NONBLOCK) return 0;
  return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? errno : 0;
}

static JSValue host_start_relay(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int from, to;
  if (arg_fd(ctx, argv[0], &from) < 0 || arg_fd(ctx, argv[1], &to) < 0 || arg_function(ctx, argv[2]) < 0) return JS_EXCEPTION;
  int error = make_non_blocking(from);
  if (error == 0) error = make_non_blocking(to);
  if (error != 0) return throw_errno(ctx, error, "fcntl", NULL);
  struct relay *relay = calloc(1, sizeof *relay);
  if (relay == NULL) return JS_ThrowOutOfMemory(ctx);
  relay->input = (struct watcher){.fd = -1, .ready = input_ready};
  relay->output = (struct watcher){.fd = -1, .ready = output_ready};
  relay->from = from;
  relay->to = to;
  relay->from_terminal = isatty(from);
  relay->to_terminal = isatty(to);
  // A terminal would splice on some kernels, in small pieces and with its own idea of "would block".
  relay->splices = !relay->from_terminal && !relay->to_terminal;
  error = loop_watch(&relay->input, from, EPOLLIN, true);
  if (error != 0) {
    free(relay);
    return throw_errno(ctx, error, "epoll_ctl", NULL);
  }
  relay->end = JS_DupValue(ctx, argv[2]);
  relay->id = ++last_relay;
  relay->moved_at = monotonic_ns();
  relay->next = relays;
  relays = relay;
  return JS_NewInt64(ctx, (int64_t)relay->id);
}

static JSValue host_stop_relay(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t id;
  if (arg_int(ctx, argv[0], 0, INT64_MAX >> 10, &id) < 0) return JS_EXCEPTION;
  struct relay *relay = find((uint64_t)id);
  if (relay != NULL) drop(relay);
  return JS_UNDEFINED;
}

static JSValue host_relay_state(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t id;
  if (arg_int(ctx, argv[0], 0, INT64_MAX >> 10, &id) < 0) return JS_EXCEPTION;
  struct relay *relay = find((uint64_t)id);
  if (relay == NULL) return JS_ThrowRangeError(ctx, "the relay has ended");
  JSValue object = JS_NewObject(ctx);
  if (set_field(ctx, object, "moved", JS_NewBigUint64(ctx, relay->moved)) < 0 ||
      set_field(ctx, object, "blocked", JS_NewBool(ctx, relay->output.fd >= 0)) < 0 ||
      set_field(ctx, object, "idleMs", JS_NewFloat64(ctx, (double)(monotonic_ns() - relay->moved_at) / 1e6)) < 0) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("startRelay", 3, host_start_relay),
    JS_CFUNC_DEF("stopRelay", 1, host_stop_relay),
    JS_CFUNC_DEF("relayState", 1, host_relay_state),
};
HOST_EXPORTS(relay_exports, entries);
