// A relay under random use: bytes written, read, held back, redirected between sinks of every kind, ends that close. What comes out is what went in, in
// order, and at a proper end all of it. The input is a list of operations.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#include "engine.h"

enum { SINKS = 3, MOST_PARTS = 512, PIECE = 8192, TURNS = 4, LAST_TURNS = 2000 };

// Of the loop: block_signals() is for signals, which are not used here.
void block_signals(uint64_t signals)
{
  (void)signals;
}

struct part {
  uint64_t from, length;
};

static struct sink {
  int relay_end, our_end; // one and the same for a file
  bool is_file;
  bool is_closed;
  uint64_t read; // of a file
  struct part parts[MOST_PARTS];
  size_t first, count;
} sinks[SINKS];

static JSValue host = NO_VALUE;
static int source_in, source_out;
static bool source_closed, relay_ended, ended_well, lost;
static int64_t relay_id;
static size_t current;
static uint64_t written, moved;
static size_t wish; // where to go when it is full: SINKS for nowhere
static uint64_t wish_room;

static uint8_t pattern(uint64_t at)
{
  return (uint8_t)((at * 0x9e3779b97f4a7c15u) >> 56);
}

// --- the loop, some turns of it ---------------------------------------------------------------------------------------------------------------------

static jmp_buf out;
static int turns_left;

int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int timeout);
int __real_epoll_wait(int fd, struct epoll_event *events, int most, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
  (void)timeout;
  if (turns_left-- == 0) longjmp(out, 1);
  return __real_epoll_wait(fd, events, most, 0);
}

static void turn(int turns)
{
  turns_left = turns;
  if (setjmp(out) == 0) loop_run();
}

// --- what has gone where ----------------------------------------------------------------------------------------------------------------------------

static uint64_t field(JSValueConst object, const char *name)
{
  JSContext *ctx = fuzz_engine();
  JSValue value = JS_GetPropertyStr(ctx, object, name);
  int64_t number = 0;
  if (JS_ToInt64Ext(ctx, &number, value) < 0) fuzz_fail("%s is no number", name);
  JS_FreeValue(ctx, value);
  return (uint64_t)number;
}

static void add_moved(uint64_t now)
{
  if (now < moved || now > written) fuzz_fail("moved %llu of %llu", (unsigned long long)now, (unsigned long long)written);
  struct sink *sink = &sinks[current];
  if (now == moved) return;
  if (sink->count == MOST_PARTS) fuzz_fail("too many parts");
  sink->parts[sink->count++] = (struct part){moved, now - moved};
  moved = now;
}

static void account(void)
{
  if (relay_ended) return;
  JSValue state = fuzz_call(host, "relayState", 1, (JSValue[]){JS_NewInt64(fuzz_engine(), relay_id)});
  add_moved(field(state, "moved"));
  JS_FreeValue(fuzz_engine(), state);
}

static void expect(struct sink *sink, const uint8_t *bytes, size_t count)
{
  for (size_t i = 0; i < count; i++) {
    if (sink->first == sink->count) fuzz_fail("more comes out than was moved");
    struct part *part = &sink->parts[sink->first];
    if (bytes[i] != pattern(part->from)) fuzz_fail("byte %llu is another", (unsigned long long)part->from);
    part->from++;
    if (--part->length == 0) sink->first++;
  }
}

static ssize_t read_sink(struct sink *sink, size_t most)
{
  static uint8_t bytes[PIECE];
  if (sink->is_closed) return 0;
  if (most > sizeof bytes) most = sizeof bytes;
  account();
  ssize_t count = sink->is_file ? pread(sink->our_end, bytes, most, (off_t)sink->read) : read(sink->our_end, bytes, most);
  if (count <= 0) return 0;
  sink->read += (uint64_t)count;
  expect(sink, bytes, (size_t)count);
  return count;
}

// --- what is done -----------------------------------------------------------------------------------------------------------------------------------

static JSValue on_end(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t total;
  const char *why = JS_ToCString(ctx, argv[0]);
  if (why == NULL || JS_ToInt64Ext(ctx, &total, argv[2]) < 0) fuzz_fail("a strange end");
  add_moved((uint64_t)total);
  relay_ended = true;
  ended_well = strcmp(why, "eof") == 0;
  JS_FreeCString(ctx, why);
  return JS_UNDEFINED;
}

static void redirect(size_t sink, uint64_t room)
{
  JSContext *ctx = fuzz_engine();
  if (relay_ended || sinks[sink].is_closed) return;
  account();
  current = sink;
  JSValue limit = room == 0 ? JS_UNDEFINED : JS_NewInt64(ctx, (int64_t)room);
  JSValue done = fuzz_call(host, "redirectRelay", 3, (JSValue[]){JS_NewInt64(ctx, relay_id), JS_NewInt32(ctx, sinks[sink].relay_end), limit});
  if (!JS_IsUndefined(done)) fuzz_fail("no redirect");
}

static JSValue on_full(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)ctx;
  (void)self;
  (void)argc;
  (void)argv;
  // Once: two sinks that are both full would be asked in turns for ever.
  size_t to = wish;
  wish = SINKS;
  if (to < SINKS && to != current) redirect(to, wish_room);
  return JS_UNDEFINED;
}

static void write_source(size_t count)
{
  static uint8_t bytes[PIECE];
  if (source_closed) return;
  if (count > sizeof bytes) count = sizeof bytes;
  for (size_t i = 0; i < count; i++) bytes[i] = pattern(written + i);
  ssize_t done = write(source_in, bytes, count);
  if (done > 0) written += (uint64_t)done;
}

static void close_source(void)
{
  if (!source_closed) close(source_in);
  source_closed = true;
}

// A reader that goes: what it has not read is lost, by nobody's fault.
static void close_sink(struct sink *sink)
{
  if (sink->is_closed || sink->is_file) return;
  account();
  close(sink->our_end);
  sink->is_closed = true;
  lost = true;
}

static void shrink(struct sink *sink, int capacity)
{
  if (!sink->is_closed && !sink->is_file) fcntl(sink->our_end, F_SETPIPE_SZ, capacity);
}

static void operate(uint8_t what, uint8_t value)
{
  struct sink *sink = &sinks[value % SINKS];
  switch (what % 10) {
  case 0:
  case 1: write_source((size_t)value * 32 + 1); break;
  case 2: read_sink(sink, (size_t)(value / SINKS) * 96 + 1); break;
  case 3: turn(1 + value % TURNS); break;
  case 4: redirect(value % SINKS, value < 128 ? 0 : (uint64_t)value * 7); break;
  case 5: shrink(sink, 4096 << value % 3); break;
  case 6:
    wish = value % (SINKS + 1);
    wish_room = value < 128 ? 0 : value;
    break;
  case 7:
    if (value > 200) close_sink(sink);
    break;
  case 8:
    if (value > 200) close_source();
    break;
  default: read_sink(&sinks[current], PIECE); break;
  }
}

// --- one input --------------------------------------------------------------------------------------------------------------------------------------

static void open_pipe(int ends[2])
{
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) fuzz_fail("pipe2: %s", strerror(errno));
}

static void open_terminal(int ends[2])
{
  struct termios raw;
  memset(&raw, 0, sizeof raw);
  cfmakeraw(&raw);
  raw.c_cflag |= CREAD;
  if (openpty(&ends[0], &ends[1], NULL, &raw, NULL) < 0) fuzz_fail("openpty: %s", strerror(errno));
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  fcntl(ends[1], F_SETFL, O_NONBLOCK);
}

static void open_all(uint8_t kinds)
{
  int ends[2];
  memset(sinks, 0, sizeof sinks);
  if (kinds & 1) open_terminal(ends);
  else open_pipe(ends);
  source_out = ends[0];
  source_in = ends[1];
  open_pipe(ends);
  sinks[0].our_end = ends[0];
  sinks[0].relay_end = ends[1];
  if (kinds & 2) {
    open_terminal(ends);
    sinks[1].relay_end = ends[0];
    sinks[1].our_end = ends[1];
  } else {
    open_pipe(ends);
    sinks[1].relay_end = ends[1];
    sinks[1].our_end = ends[0];
  }
  int file = memfd_create("sink", MFD_CLOEXEC);
  sinks[2] = (struct sink){.relay_end = file, .our_end = file, .is_file = true};
}

static void start(bool asks)
{
  JSContext *ctx = fuzz_engine();
  JSValue full = asks ? JS_NewCFunction(ctx, on_full, "full", 1) : JS_UNDEFINED;
  JSValue id = fuzz_call(host, "startRelay", 4,
                         (JSValue[]){JS_NewInt32(ctx, source_out), JS_NewInt32(ctx, sinks[0].relay_end), JS_NewCFunction(ctx, on_end, "end", 3), full});
  if (JS_ToInt64(ctx, &relay_id, id) < 0 || relay_id <= 0) fuzz_fail("no relay");
  JS_FreeValue(ctx, id);
}

// The source ends, and everybody reads: all of it arrives.
static void drain(void)
{
  close_source();
  // The file takes whatever there is.
  redirect(2, 0);
  turn(LAST_TURNS);
  for (size_t i = 0; i < SINKS; i++)
    while (read_sink(&sinks[i], PIECE) > 0) continue;
  if (!relay_ended) fuzz_fail("no end: %llu of %llu", (unsigned long long)moved, (unsigned long long)written);
  if (ended_well && moved != written) fuzz_fail("%llu of %llu at the end", (unsigned long long)moved, (unsigned long long)written);
  for (size_t i = 0; i < SINKS && !lost; i++)
    if (sinks[i].first != sinks[i].count) fuzz_fail("what was moved into sink %zu is not there", i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  static const struct host_exports *const lists[] = {&relay_exports, NULL};
  if (JS_IsUndefined(host)) {
    host = fuzz_host(lists);
    signal(SIGPIPE, SIG_IGN); // as process_start() does
  }
  if (size == 0) return 0;
  source_closed = relay_ended = ended_well = lost = false;
  written = moved = 0;
  current = 0;
  wish = SINKS;
  open_all(data[0]);
  start((data[0] & 4) != 0);
  for (size_t at = 1; at + 1 < size && sinks[current].count < MOST_PARTS / 2; at += 2) operate(data[at], data[at + 1]);
  drain();
  relay_stop_all();
  close(source_out);
  for (size_t i = 0; i < SINKS; i++) {
    close(sinks[i].relay_end);
    if (!sinks[i].is_closed && !sinks[i].is_file) close(sinks[i].our_end);
  }
  fuzz_collect();
  return 0;
}
