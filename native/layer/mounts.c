// What a verb does before it reads anything of somebody else's: the mounts of a snapshot, seen by this process alone, and privileges let go of.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "layer.h"

void own_mounts(void)
{
  if (unshare(CLONE_NEWNS) < 0) fail("unshare: %s", strerror(errno));
  if (mount("", "/", "", MS_REC | MS_PRIVATE, NULL) < 0) fail("make mounts private: %s", strerror(errno));
}

void mount_all(const char *directory, const char *base, int count, char **mounts)
{
  if (chdir(base) < 0) fail("chdir %s: %s", base, strerror(errno));
  for (int i = 0; i + 3 < count; i += 4) {
    char *type = mounts[i], *source = mounts[i + 1], *data = mounts[i + 3];
    unsigned long flags = strtoul(mounts[i + 2], NULL, 10);
    // The kernel would drop the rest without a word.
    if (strlen(data) >= (size_t)sysconf(_SC_PAGESIZE)) fail("mount %s: more than a page of options", source);
    if (mount(source, directory, type, flags, data) < 0) fail("mount %s %s: %s", type, source, strerror(errno));
  }
}

void mount_without_devices(const char *directory)
{
  if (mount("", directory, "", MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | MS_NOEXEC, NULL) < 0)
    fail("mount %s without devices: %s", directory, strerror(errno));
}

void keep_capabilities(const int *kept, size_t count)
{
  uint32_t low = 0, high = 0;
  for (size_t i = 0; i < count; i++) *(kept[i] < 32 ? &low : &high) |= 1u << (kept[i] & 31);
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

void enter_root(const char *directory)
{
  if (chroot(directory) < 0) fail("chroot %s: %s", directory, strerror(errno));
  if (chdir("/") < 0) fail("chdir: %s", strerror(errno));
}
