// Timers, in a binary heap by deadline and then by id, and the clocks. loop.c fires them; TypeScript sets them.
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "host.h"

uint64_t monotonic_ns(void)
{
  struct timespec now;
  if (clock_gettime(CLOCK_MONOTONIC, &now) < 0) abort();
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct timer {
  uint64_t deadline, id;
  JSValue fire;
};
static struct timer *timers;
static size_t timer_count, timer_room;
static uint64_t last_timer;

static bool earlier(const struct timer *a, const struct timer *b)
{
  return a->deadline != b->deadline ? a->deadline < b->deadline : a->id < b->id;
}

static void swap_timers(size_t a, size_t b)
{
  struct timer kept = timers[a];
  timers[a] = timers[b];
  timers[b] = kept;
}

static void settle_timer(size_t i)
{
  for (; i > 0 && earlier(&timers[i], &timers[(i - 1) / 2]); i = (i - 1) / 2) swap_timers(i, (i - 1) / 2);
  for (;;) {
    size_t least = i, left = 2 * i + 1;
    if (left < timer_count && earlier(&timers[left], &timers[least])) least = left;
    if (left + 1 < timer_count && earlier(&timers[left + 1], &timers[least])) least = left + 1;
    if (least == i) return;
    swap_timers(i, least);
    i = least;
  }
}

// Takes the timer out of the heap; its callback is the caller's.
static JSValue remove_timer(size_t i)
{
  JSValue fire = timers[i].fire;
  timers[i] = timers[--timer_count];
  if (i < timer_count) settle_timer(i);
  if (timer_count == 0) {
    free(timers);
    timers = NULL;
    timer_room = 0;
  }
  return fire;
}

static int add_timer(uint64_t deadline, JSValue fire)
{
  if (timer_count == timer_room) {
    size_t room = timer_room ? timer_room * 2 : 4;
    struct timer *grown = realloc(timers, room * sizeof *grown);
    if (grown == NULL) return -1;
    timers = grown;
    timer_room = room;
  }
  timers[timer_count] = (struct timer){.deadline = deadline, .id = ++last_timer, .fire = fire};
  settle_timer(timer_count++);
  return 0;
}

// Fires what is due. Timers that are set meanwhile wait for the next turn, so that they cannot starve the descriptors.
void timers_fire(void)
{
  if (timer_count == 0) return;
  uint64_t now = monotonic_ns(), limit = last_timer;
  while (timer_count > 0 && timers[0].deadline <= now && timers[0].id <= limit) {
    JSValue fire = remove_timer(0);
    engine_call(fire, 0, NULL);
    JS_FreeValue(engine_context(), fire);
  }
}

bool timers_pending(void)
{
  return timer_count > 0;
}

int timers_wait_ms(void)
{
  if (timer_count == 0) return -1;
  uint64_t now = monotonic_ns(), deadline = timers[0].deadline;
  if (deadline <= now) return 0;
  uint64_t ms = (deadline - now + 999999) / 1000000;
  return ms > INT_MAX ? INT_MAX : (int)ms;
}

void timers_stop(void)
{
  while (timer_count > 0) JS_FreeValue(engine_context(), remove_timer(0));
}

static JSValue host_set_timer(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  double ms;
  if (JS_ToFloat64(ctx, &ms, argv[0]) < 0 || arg_function(ctx, argv[1]) < 0) return JS_EXCEPTION;
  if (!(ms > 0)) ms = 0;
  if (ms > 1e12) ms = 1e12;
  if (add_timer(monotonic_ns() + (uint64_t)(ms * 1e6), JS_DupValue(ctx, argv[1])) < 0) {
    JS_FreeValue(ctx, argv[1]);
    return JS_ThrowOutOfMemory(ctx);
  }
  return JS_NewInt64(ctx, (int64_t)last_timer);
}

static JSValue host_clear_timer(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  double id;
  if (JS_ToFloat64(ctx, &id, argv[0]) < 0) return JS_EXCEPTION;
  for (size_t i = 0; i < timer_count; i++) {
    if ((double)timers[i].id != id) continue;
    JS_FreeValue(ctx, remove_timer(i));
    break;
  }
  return JS_UNDEFINED;
}

static JSValue host_monotonic_ms(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  return JS_NewFloat64(ctx, (double)monotonic_ns() / 1e6);
}

static JSValue host_realtime_ns(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now) < 0) return throw_errno(ctx, errno, "clock_gettime", NULL);
  return JS_NewBigInt64(ctx, (int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
}

static const JSCFunctionListEntry timer_entries[] = {
    JS_CFUNC_DEF("setTimer", 2, host_set_timer),
    JS_CFUNC_DEF("clearTimer", 1, host_clear_timer),
    JS_CFUNC_DEF("monotonicMs", 0, host_monotonic_ms),
    JS_CFUNC_DEF("realtimeNs", 0, host_realtime_ns),
};
HOST_EXPORTS(timer_exports, timer_entries);
