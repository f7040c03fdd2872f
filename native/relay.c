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

#include "append.h"
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
  bool to_file; // a regular one: written to at its end
  uint8_t *pending; // read and not yet written; from malloc, only while blocked
  size_t pending_offset, pending_length;
  uint64_t room; // how much more `to` may be given
  uint64_t redirects;
  bool halted; // waits for a redirect, not for a descriptor
  JSValue end, full;
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
  JS_FreeValue(engine_context(), relay->full);
  free(relay);
}

static JSValue errno_name(int error)
{
  const char *code = error ? strerrorname_np(error) : "";
  return JS_NewString(engine_context(), code ? code : "EIO");
}

static void finish(struct relay *relay, const char *why, int error)
{
  JSContext *ctx = engine_context();
  JSValue end = JS_DupValue(ctx, relay->end);
  JSValue args[3] = {JS_NewString(ctx, why), errno_name(error), JS_NewBigUint64(ctx, relay->moved)};
  drop(relay);
  engine_call(end, 3, (JSValueConst *)args);
  for (int i = 0; i < 3; i++) JS_FreeValue(ctx, args[i]);
  JS_FreeValue(ctx, end);
}

// What a step of the relay came to.
enum step { MOVED, WAIT_INPUT, WAIT_OUTPUT, NO_ROOM, END_OF_INPUT, READ_FAILED, WRITE_FAILED, REFUSED };

static size_t within_room(const struct relay *relay, size_t size)
{
  return relay->room < size ? (size_t)relay->room : size;
}

static void note_moved(struct relay *relay, size_t n)
{
  relay->moved += n;
  relay->room -= n;
}

static short ready_now(int fd, short events)
{
  struct pollfd entry = {.fd = fd, .events = events};
  int n;
  do n = poll(&entry, 1, 0);
  while (n < 0 && errno == EINTR);
  return n < 0 ? 0 : entry.revents;
}

// splice says "would block" without saying which side. Bytes that have come since it has looked are no sign of the other one's being full.
static enum step blocked_side(const struct relay *relay)
{
  failpoint("relay:blocked");
  short input = ready_now(relay->from, POLLIN);
  if (input & POLLIN) return (ready_now(relay->to, POLLOUT) & POLLOUT) ? MOVED : WAIT_OUTPUT;
  // Hung up and nothing left. An empty read tells the end even when `to` is full, where splice says "would block".
  if (input & (POLLHUP | POLLERR)) return REFUSED;
  return WAIT_INPUT;
}

static ssize_t splice_to(void *context, loff_t *end)
{
  struct relay *relay = context;
  ssize_t n;
  do n = splice(relay->from, NULL, relay->to, end, within_room(relay, SPLICE_CHUNK), SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  while (n < 0 && errno == EINTR);
  return n;
}

static ssize_t splice_some(struct relay *relay)
{
  return relay->to_file ? append(relay->to, splice_to, relay) : splice_to(relay, NULL);
}

static enum step splice_step(struct relay *relay, int *error)
{
  ssize_t n = splice_some(relay);
  // See copy_step.
  if (n < 0 && errno == EIO && relay->from_terminal) n = splice_some(relay);
  if (n < 0 && errno == EIO && relay->from_terminal) return END_OF_INPUT;
  if (n > 0) {
    note_moved(relay, (size_t)n);
    return MOVED;
  }
  if (n == 0) return END_OF_INPUT;
  *error = errno;
  switch (errno) {
  case EAGAIN: return blocked_side(relay);
  case EPIPE: return WRITE_FAILED;
  case ENOSPC:
  case EFBIG:
  case EDQUOT:
    // Where nobody says what is to become of it, what a file refuses is taken from the writer, and lost.
    return relay->to_file && JS_IsUndefined(relay->full) ? REFUSED : WRITE_FAILED;
  // EINVAL: a file system without it, a terminal on some kernels or to anything but a pipe. Any other error does not say whose it is; reading and writing one by one does.
  default: return REFUSED;
  }
}

static ssize_t write_to(void *context, loff_t *end)
{
  struct relay *relay = context;
  const uint8_t *bytes = relay->pending + relay->pending_offset;
  size_t size = within_room(relay, relay->pending_length);
  ssize_t n;
  do n = end == NULL ? write(relay->to, bytes, size) : pwrite(relay->to, bytes, size, *end);
  while (n < 0 && errno == EINTR);
  return n;
}

// Writes what is pending. MOVED when all is written; WAIT_OUTPUT, NO_ROOM and WRITE_FAILED keep the rest.
static enum step write_pending(struct relay *relay, int *error)
{
  while (relay->pending_length > 0) {
    if (relay->room == 0) return NO_ROOM;
    ssize_t n = relay->to_file ? append(relay->to, write_to, relay) : write_to(relay, NULL);
    if (n < 0 && errno == EAGAIN) return WAIT_OUTPUT;
    if (n < 0) {
      *error = errno;
      return WRITE_FAILED;
    }
    note_moved(relay, (size_t)n);
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
    failpoint("relay:read");
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
  if (relay->room == 0) return NO_ROOM;
  if (!relay->splices) return copy_step(relay, error);
  enum step step = splice_step(relay, error);
  if (step != REFUSED) return step;
  relay->splices = false;
  return copy_step(relay, error);
}

// Watches the side that is waited for, and only that one: a hang-up of the other cannot be masked and would spin the loop.
static int wait_for(struct relay *relay, bool output)
{
  relay->halted = false;
  if (output) {
    loop_unwatch(&relay->input);
    return loop_watch(&relay->output, relay->to, EPOLLOUT, true);
  }
  loop_unwatch(&relay->output);
  return loop_watch(&relay->input, relay->from, EPOLLIN, true);
}

static void halt(struct relay *relay)
{
  loop_unwatch(&relay->input);
  loop_unwatch(&relay->output);
  relay->halted = true;
}

static struct relay *find(uint64_t id)
{
  for (struct relay *relay = relays; relay != NULL; relay = relay->next) {
    if (relay->id == id) return relay;
  }
  return NULL;
}

// Moves what can be moved in one turn.
static enum step move(struct relay *relay, int *error)
{
  enum step step = MOVED;
  uint64_t moved = relay->moved;
  for (int i = 0; i < MOVES_A_TURN && step == MOVED; i++) step = next_step(relay, error);
  free_pending(relay);
  if (relay->moved != moved) {
    relay->moved_at = monotonic_ns();
    failpoint("relay:moved");
  }
  return step;
}

// Asks what is to become of what `to` does not take. Returns the relay if it was redirected or waits as it stands, NULL if it is gone.
static struct relay *ask_when_full(struct relay *relay, int error)
{
  uint64_t id = relay->id;
  JSContext *ctx = engine_context();
  JSValue full = JS_DupValue(ctx, relay->full);
  JSValue code = errno_name(error);
  engine_call(full, 1, (JSValueConst *)&code);
  JS_FreeValue(ctx, code);
  JS_FreeValue(ctx, full);
  return find(id);
}

// Moves what can be moved now. The relay is gone after this if it ended.
static void pump(struct relay *relay, bool output_broken)
{
  int error = 0;
  enum step step = move(relay, &error);
  if (step == WAIT_OUTPUT && output_broken) {
    // A terminal whose other side is closed: it takes nothing, gives no error, and its hang-up would wake the loop for ever.
    step = WRITE_FAILED;
    error = relay->to_terminal ? EIO : EPIPE;
  }
  bool stuck = step == WAIT_OUTPUT || step == NO_ROOM || step == WRITE_FAILED;
  if (stuck && !JS_IsUndefined(relay->full)) {
    uint64_t redirects = relay->redirects;
    relay = ask_when_full(relay, step == WRITE_FAILED ? error : 0);
    // A redirect has said what is waited for.
    if (relay == NULL || relay->redirects != redirects) return;
    if (step != WAIT_OUTPUT) {
      halt(relay);
      return;
    }
  }
  switch (step) {
  case END_OF_INPUT: finish(relay, "eof", 0); return;
  case READ_FAILED: finish(relay, "read", error); return;
  case WRITE_FAILED: finish(relay, "write", error); return;
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

static void aim(struct relay *relay, int to, uint64_t room)
{
  relay->to = to;
  relay->room = room;
  relay->to_terminal = isatty(to);
  relay->to_file = append_begin(to);
  // What is spliced is never in our memory, and so survives us. What a terminal takes is typed by people.
  relay->splices = !relay->to_terminal;
}

static JSValue host_start_relay(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int from, to;
  if (arg_fd(ctx, argv[0], &from) < 0 || arg_fd(ctx, argv[1], &to) < 0 || arg_function(ctx, argv[2]) < 0) return JS_EXCEPTION;
  if (!JS_IsUndefined(argv[3]) && arg_function(ctx, argv[3]) < 0) return JS_EXCEPTION;
  int error = make_non_blocking(from);
  if (error == 0) error = make_non_blocking(to);
  if (error != 0) return throw_errno(ctx, error, "fcntl", NULL);
  struct relay *relay = calloc(1, sizeof *relay);
  if (relay == NULL) return JS_ThrowOutOfMemory(ctx);
  relay->input = (struct watcher){.fd = -1, .ready = input_ready};
  relay->output = (struct watcher){.fd = -1, .ready = output_ready};
  relay->from = from;
  relay->from_terminal = isatty(from);
  aim(relay, to, UINT64_MAX);
  error = loop_watch(&relay->input, from, EPOLLIN, true);
  if (error != 0) {
    free(relay);
    return throw_errno(ctx, error, "epoll_ctl", NULL);
  }
  relay->end = JS_DupValue(ctx, argv[2]);
  relay->full = JS_DupValue(ctx, argv[3]);
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

static JSValue host_redirect_relay(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t id, room = -1;
  int to;
  if (arg_int(ctx, argv[0], 0, INT64_MAX >> 10, &id) < 0 || arg_fd(ctx, argv[1], &to) < 0) return JS_EXCEPTION;
  if (!JS_IsUndefined(argv[2]) && arg_int(ctx, argv[2], 0, INT64_MAX >> 10, &room) < 0) return JS_EXCEPTION;
  struct relay *relay = find((uint64_t)id);
  if (relay == NULL) return JS_ThrowRangeError(ctx, "the relay has ended");
  int error = make_non_blocking(to);
  if (error != 0) return throw_errno(ctx, error, "fcntl", NULL);
  loop_unwatch(&relay->output);
  aim(relay, to, room < 0 ? UINT64_MAX : (uint64_t)room);
  error = wait_for(relay, relay->pending_length > 0);
  if (error != 0) return throw_errno(ctx, error, "epoll_ctl", NULL);
  relay->redirects++;
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
      set_field(ctx, object, "blocked", JS_NewBool(ctx, relay->output.fd >= 0 || relay->halted)) < 0 ||
      set_field(ctx, object, "idleMs", JS_NewFloat64(ctx, (double)(monotonic_ns() - relay->moved_at) / 1e6)) < 0) {
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("startRelay", 4, host_start_relay),
    JS_CFUNC_DEF("redirectRelay", 3, host_redirect_relay),
    JS_CFUNC_DEF("stopRelay", 1, host_stop_relay),
    JS_CFUNC_DEF("relayState", 1, host_relay_state),
};
HOST_EXPORTS(relay_exports, entries);
