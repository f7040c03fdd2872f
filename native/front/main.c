// Entry of `holdfast`: as the shim's, without a keeper, and with the parts of the language that a command line's libraries use.
#define _GNU_SOURCE

#include "../host.h"
#include "front.h"

static void add_intrinsics(JSContext *ctx)
{
  JS_AddIntrinsicRegExp(ctx);
  JS_AddIntrinsicDate(ctx);
  JS_AddIntrinsicProxy(ctx);
  JS_AddIntrinsicWeakRef(ctx);
}

static const struct host_exports *const exports[] = {
    &engine_exports, &loop_exports,  &timer_exports,   &self_exports,   &bytes_exports,    &fd_exports,
    &files_exports,  &spawn_exports, &process_exports, &socket_exports, &terminal_exports, &system_exports, NULL,
};
// Most command lines have ended before anything is worth collecting.
const struct program this_program = {.exports = exports, .add_intrinsics = add_intrinsics, .first_collection = 32 << 20};

int main(int argc, char **argv)
{
  process_start(false);
  engine_start(argc, argv);
  loop_run();
  loop_stop();
  engine_stop();
  return 0;
}
