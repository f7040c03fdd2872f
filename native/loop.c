// The event loop: descriptors through one epoll instance, timers of timers.c, and signals through a signalfd. main.c runs it; relay.c and
// TypeScript wait in it.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"

enum { BATCH = 32 };

// What is registered for one descriptor. The generation tells events of this registration from those of an earlier one with the same number.
struct slot {
  struct watcher *first;
  uint32_t events; // as epoll knows them; meaningful while `first` is not null
  uint32_t generation;
};

static int epoll_fd = -1;
static struct slot *slots; // by descriptor
static int slot_count;
static struct watcher *always_ready;
static uint32_t last_generation, turn;
static size_t watching; // watchers in slots and always_ready
static int batch_length; // what is left of the batch: none after a fork, in the child

// --- watchers ---------------------------------------------------------------------------------------------------------

static int open_epoll(void)
{
  if (epoll_fd >= 0) return 0;
  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  return epoll_fd < 0 ? errno : 0;
}

static int make_room(int fd)
{
  if (fd < slot_count) return 0;
  int count = slot_count ? slot_count : 16;
  while (count <= fd) count = count > INT_MAX / 2 ? INT_MAX : count * 2;
  struct slot *grown = realloc(slots, (size_t)count * sizeof *grown);
  if (grown == NULL) return ENOMEM;
  memset(grown + slot_count, 0, (size_t)(count - slot_count) * sizeof *grown);
  slots = grown;
  slot_count = count;
  return 0;
}

static int add_to_epoll(int fd, uint32_t events)
{
  struct slot *slot = &slots[fd];
  slot->generation = ++last_generation;
  struct epoll_event event = {.events = events, .data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)fd};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) return 0;
  // Left over from a descriptor that was closed while watched, whose file lives on elsewhere.
  if (errno == EEXIST && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0) return 0;
  return errno;
}

// Tells epoll what the watchers of `fd` want together, after one of them came, changed or went. `was_watched`: epoll had it before.
static int update(int fd, bool was_watched)
{
  struct slot *slot = &slots[fd];
  if (slot->first == NULL) {
    // It fails if the descriptor was closed first; epoll has forgotten it then.
    if (was_watched) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
    return 0;
  }
  uint32_t events = 0;
  for (struct watcher *w = slot->first; w != NULL; w = w->next) events |= w->events;
  int error = 0;
  if (!was_watched) {
    error = add_to_epoll(fd, events);
  } else if (events != slot->events) {
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0) error = errno == ENOENT ? add_to_epoll(fd, events) : errno;
  }
  if (error == 0) slot->events = events;
  return error;
}

static void unlink_watcher(struct watcher **list, struct watcher *watcher)
{
  while (*list != watcher) list = &(*list)->next;
  *list = watcher->next;
  watcher->next = NULL;
}

void loop_unwatch(struct watcher *watcher)
{
  int fd = watcher->fd;
  if (fd < 0) return;
  watcher->fd = -1;
  watching--;
  if (watcher->always) {
    unlink_watcher(&always_ready, watcher);
    watcher->always = false;
    return;
  }
  unlink_watcher(&slots[fd].first, watcher);
  update(fd, true);
}

static void watch_always(struct watcher *watcher, int fd, uint32_t events)
{
  watcher->fd = fd;
  watcher->events = events;
  watcher->always = true;
  watcher->turn = turn;
  watcher->next = always_ready;
  always_ready = watcher;
  watching++;
}

int loop_watch(struct watcher *watcher, int fd, uint32_t events, bool always)
{
  if (fd < 0) return EBADF;
  if (watcher->fd == fd && !watcher->always) {
    watcher->events = events;
    return update(fd, true);
  }
  loop_unwatch(watcher);
  int error = open_epoll();
  if (error == 0) error = make_room(fd);
  if (error != 0) return error;
  struct slot *slot = &slots[fd];
  bool was_watched = slot->first != NULL;
  watcher->fd = fd;
  watcher->events = events;
  watcher->turn = turn;
  watcher->next = slot->first;
  slot->first = watcher;
  watching++;
  error = update(fd, was_watched);
  if (error == 0) return 0;
  slot->first = watcher->next;
  watcher->next = NULL;
  watcher->fd = -1;
  watching--;
  if (error != EPERM || !always) return error;
  watch_always(watcher, fd, events);
  return 0;
}

// Calls each watcher of the list once in this turn. A callback may start, change and end watchers, its own and others, so the list is
// walked anew after each.
static void call_watchers(int fd, uint32_t generation, uint32_t events)
{
  for (;;) {
    struct slot *slot = &slots[fd];
    if (slot->generation != generation) return; // closed and opened again meanwhile
    struct watcher *w = slot->first;
    while (w != NULL && (w->turn == turn || !(events & (w->events | EPOLLHUP | EPOLLERR)))) w = w->next;
    if (w == NULL) return;
    w->turn = turn;
    w->ready(w, events & (w->events | EPOLLHUP | EPOLLERR));
  }
}

static void call_always_ready(void)
{
  for (;;) {
    struct watcher *w = always_ready;
    while (w != NULL && w->turn == turn) w = w->next;
    if (w == NULL) return;
    w->turn = turn;
    w->ready(w, w->events);
  }
}

static int signal_fd = -1;

void loop_descriptors(int fds[2])
{
  fds[0] = epoll_fd;
  fds[1] = signal_fd;
}

int loop_after_fork(void)
{
  batch_length = 0; // these events are the parent's
  if (epoll_fd < 0) return 0;
  close(epoll_fd);
  epoll_fd = -1;
  int error = open_epoll();
  for (int fd = 0; error == 0 && fd < slot_count; fd++) {
    if (slots[fd].first != NULL) error = add_to_epoll(fd, slots[fd].events);
  }
  return error;
}

// --- the loop ---------------------------------------------------------------------------------------------------------

void loop_run(void)
{
  struct epoll_event batch[BATCH];
  while (watching > 0 || timers_pending()) {
    if (open_epoll() != 0) abort();
    int n = epoll_wait(epoll_fd, batch, BATCH, always_ready != NULL ? 0 : timers_wait_ms());
    if (n < 0 && errno != EINTR) abort();
    turn++;
    batch_length = n;
    for (int i = 0; i < batch_length; i++) {
      call_watchers((int)(uint32_t)batch[i].data.u64, (uint32_t)(batch[i].data.u64 >> 32), batch[i].events);
    }
    call_always_ready();
    timers_fire();
  }
}

// --- TypeScript's watches ---------------------------------------------------------------------------------------------

struct script_watch {
  struct watcher watcher;
  JSValue ready;
};

static void script_ready(struct watcher *self, uint32_t events)
{
  struct script_watch *watch = (struct script_watch *)self;
  if (events & EPOLLERR) events |= EPOLLHUP;
  JSContext *ctx = engine_context();
  JSValue bits = JS_NewInt32(ctx, (int32_t)(events & (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLHUP)));
  engine_call(watch->ready, 1, (JSValueConst *)&bits);
}

static struct script_watch *find_script_watch(int fd)
{
  if (fd < 0 || fd >= slot_count) return NULL;
  for (struct watcher *w = slots[fd].first; w != NULL; w = w->next) {
    if (w->ready == script_ready) return (struct script_watch *)w;
  }
  return NULL;
}

static JSValue host_watch(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  int64_t events;
  if (arg_fd(ctx, argv[0], &fd) < 0 || arg_int(ctx, argv[1], INT32_MIN, UINT32_MAX, &events) < 0 || arg_function(ctx, argv[2]) < 0) {
    return JS_EXCEPTION;
  }
  events &= EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLET;
  struct script_watch *watch = find_script_watch(fd), *fresh = NULL;
  if (watch == NULL) {
    fresh = watch = calloc(1, sizeof *watch);
    if (watch == NULL) return JS_ThrowOutOfMemory(ctx);
    watch->watcher.fd = -1;
    watch->watcher.ready = script_ready;
    watch->ready = JS_UNDEFINED;
  }
  int error = loop_watch(&watch->watcher, fd, (uint32_t)events, false);
  if (error != 0) {
    free(fresh);
    return throw_errno(ctx, error, "epoll_ctl", NULL);
  }
  JS_FreeValue(ctx, watch->ready);
  watch->ready = JS_DupValue(ctx, argv[2]);
  return JS_UNDEFINED;
}

void loop_forget(int fd)
{
  struct script_watch *watch = find_script_watch(fd);
  if (watch == NULL) return;
  loop_unwatch(&watch->watcher);
  JS_FreeValue(engine_context(), watch->ready);
  free(watch);
}

static JSValue host_unwatch(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  loop_forget(fd);
  return JS_UNDEFINED;
}

// --- signals ----------------------------------------------------------------------------------------------------------

static struct watcher signal_watcher = {.fd = -1};
static JSValue signal_receiver = NO_VALUE;

static void signals_ready(struct watcher *self, uint32_t events)
{
  (void)self;
  (void)events;
  struct signalfd_siginfo info;
  JSContext *ctx = engine_context();
  // One at a time: the receiver may fork, exit, or change what is received.
  while (signal_fd >= 0 && read(signal_fd, &info, sizeof info) == sizeof info) {
    JSValue number = JS_NewInt32(ctx, (int32_t)info.ssi_signo);
    engine_call(signal_receiver, 1, (JSValueConst *)&number);
  }
}

static JSValue host_on_signals(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  uint64_t set = 0;
  int64_t count, number;
  JSValue length = JS_GetPropertyStr(ctx, argv[0], "length");
  int failed = JS_IsException(length) ? -1 : arg_int(ctx, length, 0, 64, &count);
  JS_FreeValue(ctx, length);
  if (failed < 0 || arg_function(ctx, argv[1]) < 0) return JS_EXCEPTION;
  for (uint32_t i = 0; i < (uint32_t)count; i++) {
    JSValue item = JS_GetPropertyUint32(ctx, argv[0], i);
    failed = JS_IsException(item) ? -1 : arg_int(ctx, item, 1, SIGRTMAX, &number);
    JS_FreeValue(ctx, item);
    if (failed < 0) return JS_EXCEPTION;
    set |= (uint64_t)1 << (number - 1);
  }
  block_signals(set);
  // The kernel's own call: the C library's sets leave out two signals.
  int fd = (int)syscall(SYS_signalfd4, signal_fd, &set, sizeof set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd < 0) return throw_errno(ctx, errno, "signalfd", NULL);
  signal_fd = fd;
  signal_watcher.ready = signals_ready;
  int error = loop_watch(&signal_watcher, fd, EPOLLIN, false);
  if (error != 0) return throw_errno(ctx, error, "epoll_ctl", NULL);
  JS_FreeValue(ctx, signal_receiver);
  signal_receiver = JS_DupValue(ctx, argv[1]);
  return JS_UNDEFINED;
}

void loop_stop(void)
{
  JSContext *ctx = engine_context();
  JS_FreeValue(ctx, signal_receiver);
  signal_receiver = JS_UNDEFINED;
  loop_unwatch(&signal_watcher);
  timers_stop();
  for (int fd = 0; fd < slot_count; fd++) loop_forget(fd);
  free(slots);
  slots = NULL;
  slot_count = 0;
}

static const JSCFunctionListEntry loop_entries[] = {
    JS_PROP_INT32_DEF("READABLE", EPOLLIN, 0),
    JS_PROP_INT32_DEF("WRITABLE", EPOLLOUT, 0),
    JS_PROP_INT32_DEF("PRIORITY", EPOLLPRI, 0),
    JS_PROP_INT32_DEF("HANGUP", EPOLLHUP, 0),
    JS_PROP_INT64_DEF("EDGE", EPOLLET, 0),
    JS_CFUNC_DEF("watch", 3, host_watch),
    JS_CFUNC_DEF("unwatch", 1, host_unwatch),
    JS_CFUNC_DEF("onSignals", 2, host_on_signals),
};
HOST_EXPORTS(loop_exports, loop_entries);
