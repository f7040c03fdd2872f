// What a command asks of the system beside the shim: links, modes, fifos, chance, and to go on as another program.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "front.h"

// --- files ------------------------------------------------------------------------------------------------------------

static JSValue new_status(JSContext *ctx, const struct stat *status)
{
  const struct {
    const char *name;
    double value;
  } fields[] = {
      {"mode", status->st_mode},
      {"uid", status->st_uid},
      {"gid", status->st_gid},
      {"size", (double)status->st_size},
      {"dev", (double)status->st_dev},
      {"ino", (double)status->st_ino},
      {"rdev", (double)status->st_rdev},
      {"nlink", (double)status->st_nlink},
      {"mtimeMs", (double)status->st_mtim.tv_sec * 1e3 + (double)status->st_mtim.tv_nsec / 1e6},
  };
  JSValue object = JS_NewObject(ctx);
  for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
    if (set_field(ctx, object, fields[i].name, JS_NewFloat64(ctx, fields[i].value)) >= 0) continue;
    JS_FreeValue(ctx, object);
    return JS_EXCEPTION;
  }
  return object;
}

static JSValue host_status(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  bool follow = argc > 1 && JS_ToBool(ctx, argv[1]);
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  struct stat status;
  int done = follow ? stat(path, &status) : lstat(path, &status);
  JSValue result = done < 0 ? throw_errno(ctx, errno, follow ? "stat" : "lstat", path) : new_status(ctx, &status);
  JS_FreeCString(ctx, path);
  return result;
}

static JSValue host_status_of(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int fd;
  struct stat status;
  if (arg_fd(ctx, argv[0], &fd) < 0) return JS_EXCEPTION;
  return fstat(fd, &status) < 0 ? throw_errno(ctx, errno, "fstat", NULL) : new_status(ctx, &status);
}

// Calls with a path and a mode; one JavaScript function each, by magic number.
enum mode_call { CHANGE_MODE, MAKE_FIFO };

static JSValue host_mode_call(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int magic)
{
  (void)self;
  (void)argc;
  int64_t mode;
  if (arg_int(ctx, argv[1], 0, 07777, &mode) < 0) return JS_EXCEPTION;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  int done = magic == CHANGE_MODE ? chmod(path, (mode_t)mode) : mkfifo(path, (mode_t)mode);
  JSValue result = done < 0 ? throw_errno(ctx, errno, magic == CHANGE_MODE ? "chmod" : "mkfifo", path) : JS_UNDEFINED;
  JS_FreeCString(ctx, path);
  return result;
}

// Calls that turn a path into another; one JavaScript function each, by magic number.
enum path_call { READ_LINK, REAL_PATH, MAKE_TEMPORARY };
static const char *const path_call_names[] = {"readlink", "realpath", "mkdtemp"};

// The result comes from malloc; null with errno set.
static char *read_link(const char *path)
{
  for (size_t room = 256;; room *= 2) {
    char *text = malloc(room);
    ssize_t length = text == NULL ? -1 : readlink(path, text, room);
    if (length >= 0 && (size_t)length < room) {
      text[length] = '\0';
      return text;
    }
    int error = errno;
    free(text);
    errno = error;
    if (length < 0) return NULL;
  }
}

static JSValue host_path_call(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int magic)
{
  (void)self;
  (void)argc;
  const char *path = arg_string(ctx, argv[0]);
  if (path == NULL) return JS_EXCEPTION;
  char *found = NULL;
  switch ((enum path_call)magic) {
  case READ_LINK: found = read_link(path); break;
  case REAL_PATH: found = realpath(path, NULL); break;
  case MAKE_TEMPORARY:
    found = strdup(path);
    if (found != NULL && mkdtemp(found) == NULL) {
      int error = errno;
      free(found);
      found = NULL;
      errno = error;
    }
  }
  JSValue result = found == NULL ? throw_errno(ctx, errno, path_call_names[magic], path) : new_text(ctx, found, strlen(found));
  free(found);
  JS_FreeCString(ctx, path);
  return result;
}

// --- this process and this machine ------------------------------------------------------------------------------------

static JSValue host_random_bytes(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t length;
  if (arg_int(ctx, argv[0], 0, 256, &length) < 0) return JS_EXCEPTION; // so much comes whole
  uint8_t *bytes = malloc((size_t)length + 1);
  if (bytes == NULL) return JS_ThrowOutOfMemory(ctx);
  if (getrandom(bytes, (size_t)length, 0) == length) return new_bytes(ctx, bytes, (size_t)length);
  free(bytes);
  return throw_errno(ctx, errno, "getrandom", NULL);
}

enum id { USER_ID, GROUP_ID };

static JSValue host_id(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv, int magic)
{
  (void)self;
  (void)argc;
  (void)argv;
  return JS_NewInt64(ctx, magic == USER_ID ? getuid() : getgid());
}

static JSValue host_umask(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t mode;
  if (arg_int(ctx, argv[0], 0, 0777, &mode) < 0) return JS_EXCEPTION;
  return JS_NewInt32(ctx, (int32_t)umask((mode_t)mode));
}

static JSValue host_kernel_release(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
  struct utsname name;
  if (uname(&name) < 0) return throw_errno(ctx, errno, "uname", NULL);
  return new_text(ctx, name.release, strlen(name.release));
}

static JSValue host_architecture(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  (void)argv;
#ifdef __aarch64__
  return JS_NewString(ctx, "arm64");
#else
  return JS_NewString(ctx, "x64");
#endif
}

static JSValue host_kill(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t pid, number;
  if (arg_int(ctx, argv[0], INT32_MIN, INT32_MAX, &pid) < 0 || arg_int(ctx, argv[1], 0, 64, &number) < 0) return JS_EXCEPTION;
  return kill((pid_t)pid, (int)number) < 0 ? throw_errno(ctx, errno, "kill", NULL) : JS_UNDEFINED;
}

static JSValue host_die_by(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t number;
  if (arg_int(ctx, argv[0], 1, 64, &number) < 0) return JS_EXCEPTION;
  process_start(false);
  signal((int)number, SIG_DFL);
  raise((int)number);
  _exit(128 + (int)number); // by default it ends nobody
}

// Arguments and environment are handed on as they came, whatever bytes they have, and signals as a program is started with them.
static JSValue host_become(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *path = arg_string(ctx, argv[0]), *name = path == NULL ? NULL : arg_string(ctx, argv[1]);
  JSValue result = JS_EXCEPTION;
  if (name != NULL) {
    char *former = front_arguments[0];
    front_arguments[0] = (char *)name;
    process_start(false);
    signal(SIGPIPE, SIG_DFL);
    execv(path, front_arguments);
    result = throw_errno(ctx, errno, "execve", path);
    signal(SIGPIPE, SIG_IGN);
    front_arguments[0] = former;
  }
  JS_FreeCString(ctx, path);
  JS_FreeCString(ctx, name);
  return result;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("status", 2, host_status),
    JS_CFUNC_DEF("statusOf", 1, host_status_of),
    JS_CFUNC_MAGIC_DEF("changeMode", 2, host_mode_call, CHANGE_MODE),
    JS_CFUNC_MAGIC_DEF("makeFifo", 2, host_mode_call, MAKE_FIFO),
    JS_CFUNC_MAGIC_DEF("readLink", 1, host_path_call, READ_LINK),
    JS_CFUNC_MAGIC_DEF("realPath", 1, host_path_call, REAL_PATH),
    JS_CFUNC_MAGIC_DEF("makeTemporary", 1, host_path_call, MAKE_TEMPORARY),
    JS_CFUNC_DEF("randomBytes", 1, host_random_bytes),
    JS_CFUNC_MAGIC_DEF("userId", 0, host_id, USER_ID),
    JS_CFUNC_MAGIC_DEF("groupId", 0, host_id, GROUP_ID),
    JS_CFUNC_DEF("umask", 1, host_umask),
    JS_CFUNC_DEF("kernelRelease", 0, host_kernel_release),
    JS_CFUNC_DEF("architecture", 0, host_architecture),
    JS_CFUNC_DEF("kill", 2, host_kill),
    JS_CFUNC_DEF("dieBy", 1, host_die_by),
    JS_CFUNC_DEF("become", 2, host_become),
};
HOST_EXPORTS(system_exports, entries);
