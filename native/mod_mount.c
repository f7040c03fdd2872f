// Mounts, id-mapped ones too, and loop devices.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

static JSValue host_open_in_root(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *root = arg_string(ctx, argv[0]), *path = root ? arg_string(ctx, argv[1]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (path != NULL) {
    int directory = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
      result = throw_errno(ctx, errno, "open", root);
    } else {
      struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
      long fd = syscall(SYS_openat2, directory, path, &how, sizeof how);
      result = fd < 0 ? throw_errno(ctx, errno, "openat2", path) : JS_NewInt32(ctx, (int)fd);
      close(directory);
    }
  }
  JS_FreeCString(ctx, root);
  JS_FreeCString(ctx, path);
  return result;
}

// Writes one of a process's files in /proc. Returns 0, or -1 with errno.
static int write_proc(pid_t pid, const char *name, const char *text)
{
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t written = write(fd, text, strlen(text));
  int error = errno;
  close(fd);
  errno = error;
  return written < 0 ? -1 : 0;
}

// A user namespace with these mappings: of a child that only waits to be killed. Returns a descriptor, or -1 with errno and the step that failed.
static int user_namespace(const char *uid_map, const char *gid_map, const char **step)
{
  *step = "clone";
  // No exit signal: nobody else is told of it, and no wait for any child finds it.
  pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER, NULL, NULL, NULL, NULL);
  if (pid < 0) return -1;
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    for (;;) pause();
  }
  int fd = -1;
  *step = "uid_map";
  if (write_proc(pid, "uid_map", uid_map) == 0) {
    *step = "gid_map";
    if (write_proc(pid, "gid_map", gid_map) == 0) {
      char path[64];
      snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
      *step = "open";
      fd = open(path, O_RDONLY | O_CLOEXEC);
    }
  }
  int error = errno;
  kill(pid, SIGKILL);
  while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) continue;
  errno = error;
  return fd;
}

static JSValue host_user_namespace(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  const char *uid_map = arg_string(ctx, argv[0]), *gid_map = uid_map ? arg_string(ctx, argv[1]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (gid_map != NULL) {
    const char *step;
    int fd = user_namespace(uid_map, gid_map, &step);
    result = fd < 0 ? throw_errno(ctx, errno, step, NULL) : JS_NewInt32(ctx, fd);
  }
  JS_FreeCString(ctx, uid_map);
  JS_FreeCString(ctx, gid_map);
  return result;
}

// Puts a copy of the mount at `source` at `target`, its owners mapped. Returns 0, or -1 with errno and the step that failed.
static int attach_id_mapped(const char *source, const char *target, int userns, const char **step)
{
  *step = "open_tree";
  int tree = open_tree(AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (tree < 0) return -1;
  struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns};
  *step = "mount_setattr";
  int done = mount_setattr(tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
  if (done == 0) {
    *step = "move_mount";
    done = move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_SYMLINKS);
  }
  int error = errno;
  close(tree);
  errno = error;
  return done;
}

static JSValue host_attach_id_mapped(JSContext *ctx, JSValueConst self, int argc, JSValueConst *argv)
{
  (void)self;
  (void)argc;
  int userns;
  if (arg_fd(ctx, argv[2], &userns) < 0) return JS_EXCEPTION;
  const char *source = arg_string(ctx, argv[0]), *target = source ? arg_string(ctx, argv[1]) : NULL;
  JSValue result = JS_EXCEPTION;
  if (target != NULL) {
    const char *step;
    int done = attach_id_mapped(source, target, userns, &step);
    result = done < 0 ? throw_errno(ctx, errno, step, strcmp(step, "move_mount") == 0 ? target : source) : JS_UNDEFINED;
  }
  JS_FreeCString(ctx, source);
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
    JS_CFUNC_DEF("openInRoot", 2, host_open_in_root),
    JS_CFUNC_DEF("userNamespace", 2, host_user_namespace),
    JS_CFUNC_DEF("attachIdMapped", 3, host_attach_id_mapped),
    JS_CFUNC_DEF("attachLoop", 2, host_attach_loop),
};
HOST_EXPORTS(mount_exports, entries);
