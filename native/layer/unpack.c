// unpack LIMITS DIRECTORY BASE [TYPE SOURCE FLAGS DATA]... < layer
// Mounts the given mounts on DIRECTORY, in a mount namespace of its own, makes it its root, unpacks the layer that comes on stdin, and prints
// one line of JSON: digest and size of the uncompressed layer, and the number of its entries. LIMITS is "entries:bytes:ratio"; paths in
// the mounts may be relative to BASE, as the kernel takes one page of them.
// What goes wrong is a line on stderr, and status 1.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "layer.h"

// What is needed to give files their owners, modes, times, devices and file capabilities, and nothing that leads out of the root.
static const int kept_capabilities[] = {CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP};

// The mounts are seen by this process and go with it.
static void mount_all(const char *directory, const char *base, int count, char **mounts)
{
  if (unshare(CLONE_NEWNS) < 0) fail("unshare: %s", strerror(errno));
  if (mount("", "/", "", MS_REC | MS_PRIVATE, NULL) < 0) fail("make mounts private: %s", strerror(errno));
  if (chdir(base) < 0) fail("chdir %s: %s", base, strerror(errno));
  for (int i = 0; i + 3 < count; i += 4) {
    char *type = mounts[i], *source = mounts[i + 1], *data = mounts[i + 3];
    unsigned long flags = strtoul(mounts[i + 2], NULL, 10);
    // The kernel would drop the rest without a word.
    if (strlen(data) >= (size_t)sysconf(_SC_PAGESIZE)) fail("mount %s: more than a page of options", source);
    if (mount(source, directory, type, flags, data) < 0) fail("mount %s %s: %s", type, source, strerror(errno));
  }
}

static void enter(const char *directory)
{
  if (chroot(directory) < 0) fail("chroot %s: %s", directory, strerror(errno));
  if (chdir("/") < 0) fail("chdir: %s", strerror(errno));
}

static void drop_privileges(void)
{
  uint32_t low = 0, high = 0;
  for (size_t i = 0; i < sizeof kept_capabilities / sizeof *kept_capabilities; i++) {
    int capability = kept_capabilities[i];
    *(capability < 32 ? &low : &high) |= 1u << (capability & 31);
  }
  for (int capability = 0; prctl(PR_CAPBSET_READ, capability) >= 0; capability++) {
    uint32_t set = capability < 32 ? low : high;
    if ((set & 1u << (capability & 31)) == 0 && prctl(PR_CAPBSET_DROP, capability) < 0 && errno != EPERM)
      fail("drop capability %d: %s", capability, strerror(errno));
  }
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) fail("no_new_privs: %s", strerror(errno));
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct now[2];
  if (syscall(SYS_capget, &header, now) < 0) fail("capget: %s", strerror(errno));
  uint32_t wanted[2] = {low, high};
  for (int i = 0; i < 2; i++) {
    now[i].permitted &= wanted[i];
    now[i].effective = now[i].permitted;
    now[i].inheritable = 0;
  }
  if (syscall(SYS_capset, &header, now) < 0) fail("capset: %s", strerror(errno));
}

int unpack(int argc, char **argv)
{
  struct limits limits;
  if (argc < 4 || argc % 4 != 0 ||
      sscanf(argv[1], "%" SCNu64 ":%" SCNu64 ":%" SCNu64, &limits.entries, &limits.bytes, &limits.ratio) != 3)
    fail("usage: holdfast-layer unpack ENTRIES:BYTES:RATIO DIRECTORY BASE [TYPE SOURCE FLAGS DATA]... < layer");
  mount_all(argv[2], argv[3], argc - 4, argv + 4);
  enter(argv[2]);
  drop_privileges();
  struct stream stream;
  stream_open(&stream, &limits);
  uint64_t entries = extract_all(&stream, &limits);
  char hex[DIGEST_HEX + 1];
  stream_finish(&stream, hex);
  printf("{\"digest\":\"sha256:%s\",\"size\":%" PRIu64 ",\"entries\":%" PRIu64 "}\n", hex, stream.unpacked, entries);
  return fflush(stdout) == 0 ? 0 : 1;
}
