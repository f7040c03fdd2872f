// Entry of the shim: prepares the process, starts the program and runs the loop until nothing is left to wait for.
#define _GNU_SOURCE
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "host.h"
#include "keeper.h"

#ifdef HOST_SANITIZE
// A shim's stderr is seen by nobody, so reports go to files. HOLDFAST_ASAN_OPTIONS is not needed: ASAN_OPTIONS overrides these.
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
  return "log_path=/tmp/holdfast-asan:exitcode=86:detect_leaks=1:detect_stack_use_after_return=1:handle_abort=1";
}

const char *__ubsan_default_options(void)
{
  return "log_path=/tmp/holdfast-asan:exitcode=86:print_stacktrace=1";
}
#endif

static const struct host_exports *const exports[] = {
    &engine_exports,  &loop_exports,   &timer_exports, &self_exports,  &bytes_exports,  &fd_exports,        &files_exports, &spawn_exports,
    &process_exports, &socket_exports, &mount_exports, &relay_exports, &keeper_exports, &failpoint_exports, NULL,
};
// The program alone is larger than the engine's first threshold; collecting while it is read would find nothing.
const struct program this_program = {.exports = exports, .first_collection = 1 << 20};

int main(int argc, char **argv)
{
  // What a careless parent has left open is none of ours, nor of our children. A kernel older than 5.9 cannot, and that is no harm.
  if (!keeper_goes_on()) (void)close_range(3, ~0U, 0);
  // A small heap that gives back what it can: one arena, and large blocks of their own.
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 64 << 10);
  mallopt(M_TRIM_THRESHOLD, 64 << 10);
  mallopt(M_TOP_PAD, 16 << 10);
  process_start(keeper_goes_on());
  // What the starter left open is not for our children.
  (void)close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
  keeper_start(argc, argv);
  failpoint_choose(keeper_generation());
  engine_start(argc, argv);
  loop_run();
  relay_stop_all();
  loop_stop();
  engine_stop();
  return 0;
}
