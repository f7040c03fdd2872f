// See sandbox.h. The capabilities are those of the real program, and the one that leads back to the real root.
#define _GNU_SOURCE
#include "sandbox.h"

#include <archive.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layer.h"
#include "walk.h"
// Its table is forgotten after each run.
#include "seen.c"

static const int kept[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP, CAP_SYS_CHROOT};
static int real_root, place, working_directory; // descriptors
static struct stat outside[3];
static const char *const outside_names[] = {".", "outside", "outside/file"};

static jmp_buf escape;
static int running;
static char reason[512];

_Noreturn static void die(const char *what)
{
  fprintf(stderr, "sandbox: %s: %s\n", what, strerror(errno));
  abort();
}

void fail(const char *format, ...)
{
  va_list args;
  va_start(args, format);
  vsnprintf(reason, sizeof reason, format, args);
  va_end(args);
  if (!running) die(reason);
  longjmp(escape, 1);
}

const char *sandbox_reason(void)
{
  return reason;
}

// --- what a piece that was left in the middle had open: the linker puts these in the place of the functions that they are named after --------------

enum { MOST_OPEN = 4096 };
static void *opened[MOST_OPEN];
static int opened_count;

static void *note(void *handle)
{
  if (handle != NULL && opened_count == MOST_OPEN) die("too much is open");
  if (handle != NULL) opened[opened_count++] = handle;
  return handle;
}

static void forget(void *handle)
{
  for (int i = opened_count; i-- > 0;) {
    if (opened[i] != handle) continue;
    memmove(opened + i, opened + i + 1, (size_t)(--opened_count - i) * sizeof *opened);
    return;
  }
}

struct archive *__real_archive_read_new(void), *__wrap_archive_read_new(void);
struct archive *__real_archive_write_new(void), *__wrap_archive_write_new(void);
struct archive *__real_archive_write_disk_new(void), *__wrap_archive_write_disk_new(void);
int __real_archive_free(struct archive *), __wrap_archive_free(struct archive *);
int __real_archive_read_free(struct archive *), __wrap_archive_read_free(struct archive *);
int __real_archive_write_free(struct archive *), __wrap_archive_write_free(struct archive *);
DIR *__real_opendir(const char *), *__wrap_opendir(const char *);
int __real_closedir(DIR *), __wrap_closedir(DIR *);

static DIR *directories[MOST_OPEN];
static int directory_count;

struct archive *__wrap_archive_read_new(void) { return note(__real_archive_read_new()); }
struct archive *__wrap_archive_write_new(void) { return note(__real_archive_write_new()); }
struct archive *__wrap_archive_write_disk_new(void) { return note(__real_archive_write_disk_new()); }

int __wrap_archive_free(struct archive *archive)
{
  forget(archive);
  return __real_archive_free(archive);
}

int __wrap_archive_read_free(struct archive *archive)
{
  forget(archive);
  return __real_archive_read_free(archive);
}

int __wrap_archive_write_free(struct archive *archive)
{
  forget(archive);
  return __real_archive_write_free(archive);
}

DIR *__wrap_opendir(const char *path)
{
  DIR *directory = __real_opendir(path);
  if (directory != NULL && directory_count == MOST_OPEN) die("too many directories are open");
  if (directory != NULL) directories[directory_count++] = directory;
  return directory;
}

int __wrap_closedir(DIR *directory)
{
  for (int i = directory_count; i-- > 0;) {
    if (directories[i] != directory) continue;
    directories[i] = directories[--directory_count];
    break;
  }
  return __real_closedir(directory);
}

static void close_what_is_open(void)
{
  while (opened_count > 0) __real_archive_free(opened[--opened_count]);
  while (directory_count > 0) __real_closedir(directories[--directory_count]);
  free(table);
  table = NULL;
  room = used = 0;
}

// --- the place ----------------------------------------------------------------------------------------------------------------------------------------

static void note_outside(struct stat *about)
{
  for (size_t i = 0; i < sizeof outside_names / sizeof *outside_names; i++)
    if (fstatat(place, outside_names[i], &about[i], AT_SYMLINK_NOFOLLOW) < 0) die(outside_names[i]);
}

void sandbox_make(void)
{
  char path[] = "/tmp/holdfast-fuzz-XXXXXX";
  struct rlimit files = {1 << 16, 1 << 16};
  setrlimit(RLIMIT_NOFILE, &files);
  umask(0);
  own_mounts();
  if (mkdtemp(path) == NULL) die("mkdtemp");
  // No device that an archive makes can be opened.
  if (mount("fuzz", path, "tmpfs", MS_NODEV | MS_NOSUID, "size=64m") < 0) die("mount");
  real_root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  place = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  working_directory = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (real_root < 0 || place < 0 || working_directory < 0) die("open");
  if (mkdirat(place, "a", 0755) < 0 || mkdirat(place, "b", 0755) < 0 || mkdirat(place, "outside", 0755) < 0) die("mkdir");
  int file = openat(place, "outside/file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0 || write(file, "outside", 7) != 7) die("outside/file");
  close(file);
  int input = memfd_create("input", 0), output = memfd_create("output", 0);
  if (input < 0 || output < 0 || dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0) die("memfd");
  close(input);
  close(output);
  // The file system lives as long as `place` is open; nothing is left on the host.
  if (umount2(path, MNT_DETACH) < 0 || rmdir(path) < 0) die(path);
  keep_capabilities(kept, sizeof kept / sizeof *kept);
  note_outside(outside);
}

static void empty(int directory)
{
  int own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *entries = own < 0 ? NULL : fdopendir(own);
  if (entries == NULL) die("empty");
  for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
    const char *name = entry->d_name;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
    if (unlinkat(directory, name, 0) == 0) continue;
    int below = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below >= 0) {
      empty(below);
      close(below);
    }
    if (unlinkat(directory, name, AT_REMOVEDIR) < 0) die(name);
  }
  __real_closedir(entries);
}

static void fill(int root)
{
  static const struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
  static const char *const directories_made[] = {"etc", "dir", "dir/sub", "run"};
  static const char *const files[] = {"etc/passwd", "dir/file", "dir/sub/file"};
  for (size_t i = 0; i < sizeof directories_made / sizeof *directories_made; i++)
    if (mkdirat(root, directories_made[i], 0755) < 0) die(directories_made[i]);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    int fd = openat(root, files[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, "root:x:0:0\n", 11) != 11 || futimens(fd, times) < 0) die(files[i]);
    close(fd);
  }
  if (symlinkat("dir", root, "link") < 0 || symlinkat("/run", root, "absolute") < 0 || symlinkat("../outside", root, "up") < 0) die("symlink");
  if (linkat(root, "dir/file", root, "dir/hard", 0) < 0) die("link");
}

int sandbox_open(const char *root)
{
  int fd = openat(place, root, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) die(root);
  return fd;
}

void sandbox_reset(const char *root)
{
  int fd = sandbox_open(root);
  empty(fd);
  if (fchown(fd, 0, 0) < 0 || fchmod(fd, 0755) < 0) die(root);
  fill(fd);
  close(fd);
}

int sandbox_run(const char *root, void (*piece)(void *), void *context)
{
  volatile int ended = 0;
  reason[0] = 0;
  if (fchdir(place) < 0) die("fchdir");
  enter_root(root);
  running = 1;
  if (setjmp(escape) == 0) {
    piece(context);
    ended = 1;
  }
  running = 0;
  close_what_is_open();
  if (fchdir(real_root) < 0 || chroot(".") < 0 || fchdir(working_directory) < 0) die("back to the real root");
  return ended;
}

void sandbox_check(void)
{
  struct stat now[3];
  note_outside(now);
  for (size_t i = 0; i < 3; i++) {
    // A directory's access time changes by being read.
    if (now[i].st_mtim.tv_sec != outside[i].st_mtim.tv_sec || now[i].st_mtim.tv_nsec != outside[i].st_mtim.tv_nsec ||
        now[i].st_ctim.tv_sec != outside[i].st_ctim.tv_sec || now[i].st_ctim.tv_nsec != outside[i].st_ctim.tv_nsec) {
      errno = 0;
      die("something outside of the root has changed");
    }
  }
}

// --- are both roots the same -----------------------------------------------------------------------------------------------------------------------

_Noreturn static void differ(const char *path, const char *what)
{
  fprintf(stderr, "the trees differ in the %s of %s\n", what, path);
  abort();
}

static int count_names(int directory)
{
  struct names names;
  names_read(directory, &names);
  int count = (int)names.count;
  names_free(&names);
  return count;
}

static void compare_content(int a, int b, const char *name, const char *path)
{
  char one[4096], other[4096];
  int from = openat(a, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), to = openat(b, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  ssize_t count;
  if (from < 0 || to < 0) die(path);
  do {
    count = read(from, one, sizeof one);
    if (read(to, other, sizeof other) != count || (count > 0 && memcmp(one, other, (size_t)count) != 0)) differ(path, "content");
  } while (count > 0);
  close(from);
  close(to);
}

static void compare_file(int a, int b, const char *name, const char *path)
{
  struct stat one, other;
  if (fstatat(a, name, &one, AT_SYMLINK_NOFOLLOW) < 0) die(path);
  if (fstatat(b, name, &other, AT_SYMLINK_NOFOLLOW) < 0) differ(path, "existence");
  if (one.st_mode != other.st_mode) differ(path, "mode");
  if (one.st_uid != other.st_uid || one.st_gid != other.st_gid) differ(path, "owner");
  if (S_ISCHR(one.st_mode) && one.st_rdev != other.st_rdev) differ(path, "device number");
  // libarchive has no word for the very first and last times that tmpfs can store.
  if (S_ISREG(one.st_mode) && one.st_mtim.tv_sec != other.st_mtim.tv_sec && llabs(one.st_mtim.tv_sec) < 1ll << 40) differ(path, "time");
  if (S_ISREG(one.st_mode) && one.st_size != other.st_size) differ(path, "size");
  if (S_ISREG(one.st_mode)) compare_content(a, b, name, path);
  if (S_ISLNK(one.st_mode)) {
    char target[PATH_MAX], twin[PATH_MAX];
    ssize_t length = readlinkat(a, name, target, sizeof target);
    if (length < 0 || readlinkat(b, name, twin, sizeof twin) != length || memcmp(target, twin, (size_t)length) != 0) differ(path, "target");
  }
}

static void compare_directories(int a, int b)
{
  struct names names;
  if (count_names(a) != count_names(b)) differ("a directory", "number of files");
  names_read(a, &names);
  for (size_t i = 0; i < names.count; i++) {
    const char *name = names.names[i];
    compare_file(a, b, name, name);
    int below = open_directory(a, name);
    if (below < 0) continue;
    int twin = open_directory(b, name);
    compare_directories(below, twin);
    close(below);
    close(twin);
  }
  names_free(&names);
}

void sandbox_compare(void)
{
  int a = sandbox_open("a"), b = sandbox_open("b");
  compare_directories(a, b);
  close(a);
  close(b);
}

// --- input and output -------------------------------------------------------------------------------------------------------------------------------

static void rewind_to(int fd, off_t size)
{
  if (ftruncate(fd, size) < 0 || lseek(fd, 0, SEEK_SET) < 0) die("memfd");
}

// A crash in another root leaves its input where nobody finds it: it is shown here before it is run, behind its length, as replay.c does.
static struct shown {
  uint64_t size;
  uint8_t data[16384];
} *shown;

void sandbox_show(const uint8_t *data, size_t size)
{
  const char *path = getenv("HOLDFAST_FUZZ_SHOWN");
  if (shown == NULL && path != NULL) {
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || ftruncate(fd, sizeof *shown) < 0) die(path);
    shown = mmap(NULL, sizeof *shown, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shown == MAP_FAILED) die(path);
    close(fd);
  }
  if (shown == NULL) return;
  shown->size = size < sizeof shown->data ? size : sizeof shown->data;
  memcpy(shown->data, data, shown->size);
}

void sandbox_input(const uint8_t *data, size_t size)
{
  rewind_to(STDIN_FILENO, 0);
  if (write(STDIN_FILENO, data, size) != (ssize_t)size) die("memfd");
  rewind_to(STDIN_FILENO, (off_t)size);
  rewind_to(STDOUT_FILENO, 0);
}

void sandbox_turn_around(void)
{
  int input = dup(STDIN_FILENO);
  off_t size = lseek(STDOUT_FILENO, 0, SEEK_CUR);
  if (input < 0 || dup2(STDOUT_FILENO, STDIN_FILENO) < 0 || dup2(input, STDOUT_FILENO) < 0) die("memfd");
  close(input);
  rewind_to(STDIN_FILENO, size);
  rewind_to(STDOUT_FILENO, 0);
}
