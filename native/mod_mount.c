// Mounts and loop devices.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "host.h"

// The kernel reads one page of options and drops the rest without a word.
enum { MAX_DATA = 4095, LOOP_TRIES = 64 };

// mount(2) from inside `directory` and back. Returns 0, or -1 with errno and the step that failed.
static int mount_from(const char *directory, const char *const args[3], unsigned long flags, const char *data, const char **step)
{
  *step = "open";
  int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (back < 0) return -1;
  *step = "chdir";
  int done = chdir(directory), error = errno;
  if (done == 0) {
    *step = "mount";
    done = mount(args[0], args[1], args[2], flags, data);
    error = errno;
    if (fchdir(back) < 0 && done == 0) {
      *step = "fchdir";
      done = -1;
      error = errno;
    }
  }
  close(back);
  errno = error;
  return done;
}

static JSValue host_mount(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int64_t flags;
  if (arg_int(ctx, argv[3], 0, UINT32_MAX, &flags) < 0) return JS_EXCEPTION;
  // source, target, type, data, directory
  static const int order[] = {0, 1, 2, 4, 5};
  const char *texts[5] = {NULL};
  JSValue result = JS_UNDEFINED;
  for (int i = 0; i < 5 && !JS_IsException(result); i++) {
    if (i == 4 && JS_IsUndefined(argv[order[i]])) continue;
    texts[i] = arg_string(ctx, argv[order[i]]);
    if (texts[i] == NULL) result = JS_EXCEPTION;
  }
  if (!JS_IsException(result)) {
    const char *step = "mount", *data = texts[3], *because = NULL;
    int done = -1;
    if (strlen(data) > MAX_DATA) {
      errno = E2BIG;
      because = "more than 4095 bytes of options";
    } else if (texts[4] != NULL) {
      done = mount_from(texts[4], texts, (unsigned long)flags, data, &step);
    } else {
      done = mount(texts[0], texts[1], texts[2], (unsigned long)flags, data);
    }
    if (done < 0) result = throw_because(ctx, errno, step, strcmp(step, "chdir") == 0 ? texts[4] : texts[1], because);
  }
  for (int i = 0; i < 5; i++) JS_FreeCString(ctx, texts[i]);
  return result;
}

static JSValue host_unmount(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *target = arg_string(ctx, argv[0]);
  if (target == NULL) return JS_EXCEPTION;
  int done = umount2(target, UMOUNT_NOFOLLOW | (JS_ToBool(ctx, argv[1]) > 0 ? MNT_DETACH : 0));
  JSValue result = done < 0 ? throw_errno(ctx, errno, "umount2", target) : JS_UNDEFINED;
  JS_FreeCString(ctx, target);
  return result;
}

// A loop device over `backing`, which stays the caller's. Returns the device's descriptor, or -1 with errno and the step that failed.
static int attach(int backing, bool read_only, char path[32], const char **step)
{
  *step = "open";
  int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  if (control < 0) return -1;
  struct loop_config config = {.fd = (uint32_t)backing};
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0);
  int device = -1, error = EBUSY;
  // Another process may take the device between the two calls; the next free one is tried then.
  for (int i = 0; i < LOOP_TRIES && device < 0 && error == EBUSY; i++) {
    *step = "LOOP_CTL_GET_FREE";
    int number = ioctl(control, LOOP_CTL_GET_FREE);
    error = errno;
    if (number < 0) break;
    snprintf(path, 32, "/dev/loop%d", number);
    *step = "open";
    device = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    error = errno;
    if (device < 0) break;
    *step = "LOOP_CONFIGURE";
    if (ioctl(device, LOOP_CONFIGURE, &config) == 0) break;
    error = errno;
    close(device);
    device = -1;
  }
  close(control);
  errno = error;
  return device;
}

static JSValue host_attach_loop(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  bool read_only = JS_ToBool(ctx, argv[1]) > 0;
  const char *file = arg_string(ctx, argv[0]), *step = "openat";
  if (file == NULL) return JS_EXCEPTION;
  char path[32];
  int backing = open(file, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
  int device = backing < 0 ? -1 : attach(backing, read_only, path, &step), error = errno;
  if (backing >= 0) close(backing); // the device holds the file itself
  JSValue result;
  if (device < 0) {
    result = throw_errno(ctx, error, step, file);
  } else {
    result = JS_NewObject(ctx);
    if (set_field(ctx, result, "fd", JS_NewInt32(ctx, device)) < 0 || set_field(ctx, result, "path", JS_NewString(ctx, path)) < 0) {
      close(device);
      JS_FreeValue(ctx, result);
      result = JS_EXCEPTION;
    }
  }
  JS_FreeCString(ctx, file);
  return result;
}

static const JSCFunctionListEntry entries[] = {
    JS_CFUNC_DEF("mount", 6, host_mount),
    JS_CFUNC_DEF("unmount", 2, host_unmount),
    JS_CFUNC_DEF("attachLoop", 2, host_attach_loop),
};
HOST_EXPORTS(mount_exports, entries);
