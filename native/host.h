// What the parts of the native host share. The contract towards TypeScript is src/platform/host.d.ts.
#ifndef HOLDFAST_HOST_H
#define HOLDFAST_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "quickjs.h"

// Undefined, as a constant for static storage.
#define NO_VALUE {.tag = JS_TAG_UNDEFINED}

// --- exports of the C module "holdfast:host": one list a file ---------------------------------------------------------

struct host_exports {
  const JSCFunctionListEntry *list;
  int count;
};
extern const struct host_exports bytes_exports, engine_exports, failpoint_exports, files_exports, fd_exports, keeper_exports, loop_exports,
    mount_exports, process_exports, relay_exports, self_exports, socket_exports, spawn_exports, timer_exports;

#define HOST_EXPORTS(name, entries) \
  const struct host_exports name = {.list = (entries), .count = (int)(sizeof(entries) / sizeof((entries)[0]))}

// --- main.c of a program: what it takes of the host and of the engine --------------------------------------------------

struct program {
  const struct host_exports *const *exports; // up to a null
  void (*add_intrinsics)(JSContext *ctx); // beside those that every program has; null for none
  size_t first_collection; // bytes on the heap
};
extern const struct program this_program;

// --- engine.c: the one runtime and context of this process ------------------------------------------------------------

// Makes the engine, links the program and runs its top level. Ends the process on failure.
void engine_start(int argc, char **argv);
// Sanitizer builds: frees everything and checks that nothing leaked. Nothing of JavaScript may be running.
void engine_stop(void);
// Calls `fn` (borrowed, held during the call) with `argc` arguments (borrowed), runs the promise jobs, reports what was thrown.
void engine_call(JSValueConst fn, int argc, JSValueConst *argv);
// Runs promise jobs until none is left, then reports rejections that nobody handled.
void engine_run_jobs(void);
void engine_trim(void);
JSContext *engine_context(void);

// --- values.c: arguments and results ----------------------------------------------------------------------------------

// Throws { code, syscall, path? } for `error`, an errno. `path` may be null. Always returns JS_EXCEPTION.
JSValue throw_errno(JSContext *ctx, int error, const char *syscall, const char *path);
// The same, where the errno's own text says too little.
JSValue throw_because(JSContext *ctx, int error, const char *syscall, const char *path, const char *because);
// The string, to be freed with JS_FreeCString; null with an exception pending if it holds a NUL (no system call could take it).
const char *arg_string(JSContext *ctx, JSValueConst value);
// Integers within [min, max]; -1 with a RangeError pending if not.
int arg_int(JSContext *ctx, JSValueConst value, int64_t min, int64_t max, int64_t *result);
int arg_fd(JSContext *ctx, JSValueConst value, int *fd);
// Borrows the bytes of a Uint8Array. They stay where they are until JavaScript runs again; nothing to free.
int arg_bytes(JSContext *ctx, JSValueConst value, const uint8_t **bytes, size_t *length);
// A Uint8Array over `bytes`, which came from malloc and belongs to the result, also on failure.
JSValue new_bytes(JSContext *ctx, uint8_t *bytes, size_t length);
// Text from the outside: malformed UTF-8 becomes U+FFFD.
JSValue new_text(JSContext *ctx, const char *bytes, size_t length);
// Sets one property of a fresh object; takes `value`. Returns -1 with an exception pending.
int set_field(JSContext *ctx, JSValueConst object, const char *name, JSValue value);
// A function argument; -1 with a TypeError pending if it is none.
int arg_function(JSContext *ctx, JSValueConst value);

// A null-terminated array of strings from a JavaScript array of strings; null with an exception pending. Freed by free_strings.
char **arg_strings(JSContext *ctx, JSValueConst array);
void free_strings(char **strings);

// --- loop.c: one epoll instance, timers, signals ----------------------------------------------------------------------

// Somebody who waits for one descriptor. Several may wait for the same descriptor. Embedded in its owner, who keeps it alive while it is watched.
struct watcher {
  struct watcher *next;
  int fd; // -1: not watched
  uint32_t events;
  uint32_t turn; // the loop turn in which it was started or last called
  bool always; // a descriptor that epoll refuses, such as a regular file: ready in every turn
  void (*ready)(struct watcher *self, uint32_t events);
};

// Starts to watch, or changes what is watched. Returns 0 or an errno. EPERM, unless `always_ready`, for what epoll cannot watch.
int loop_watch(struct watcher *watcher, int fd, uint32_t events, bool always_ready);
void loop_unwatch(struct watcher *watcher);
// Ends TypeScript's watch of a descriptor, if there is one.
void loop_forget(int fd);
void loop_run(void);
// The loop's own descriptors, -1 where there is none.
void loop_descriptors(int fds[2]);
// In a forked child: its own epoll instance with the same watches. Returns 0 or an errno.
int loop_after_fork(void);
// Drops every JavaScript value that the loop holds.
void loop_stop(void);

// --- timers.c ---------------------------------------------------------------------------------------------------------

uint64_t monotonic_ns(void);
bool timers_pending(void);
// Milliseconds until the next is due, rounded up; -1 if there is none.
int timers_wait_ms(void);
// Fires what is due.
void timers_fire(void);
// Drops every timer and its callback.
void timers_stop(void);

// --- relay.c ----------------------------------------------------------------------------------------------------------

void relay_stop_all(void);
// Whether a relay reads from or writes to this descriptor.
bool relay_uses(int fd);

// --- spawn.c: what children get back ----------------------------------------------------------------------------------

// Default dispositions and an empty mask, whatever the starter had; SIGPIPE ignored. Called first of all. A program that goes on keeps its mask.
void process_start(bool keep_mask);
// Blocks the signals whose bits (1 << number - 1) are set.
void block_signals(uint64_t signals);

// --- failpoint.c: places where tests let a process die ------------------------------------------------------------------

// Which place the environment has for the process that serves after so many others.
void failpoint_choose(unsigned generation);
// The keeper's. Its environment must be whole still.
void failpoint_choose_keepers(void);
// Ends or stops this process if it was chosen for that here. Returns true if it is to fail.
bool failpoint(const char *name);

// --- sha256.c ---------------------------------------------------------------------------------------------------------

void sha256(const uint8_t *bytes, size_t length, uint8_t digest[32]);

#endif
