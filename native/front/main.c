// Entry of `holdfast`: as the shim's, without a keeper, and with the parts of the language that a command line's libraries use.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>

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

// What the starter has closed would be the number of the next file that we open, and what we print go there.
static void open_standard(void)
{
  for (int fd = 0; fd < 3; fd++) {
    if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) abort();
  }
}

char **front_arguments;

int main(int argc, char **argv)
{
  if (argc == 0) abort();
  front_arguments = argv;
  open_standard();
  process_start(false);
  engine_start(argc, argv);
  loop_run();
  loop_stop();
  engine_stop();
  return 0;
}
