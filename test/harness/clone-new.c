// Makes children by clone and by clone3, plain and in a user namespace of their own, and says what came of each. For tests of seccomp profiles.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, long pid)
{
  if (pid == 0) _exit(0);
  printf("%s: %s\n", what, pid < 0 ? strerrorname_np(errno) : "made");
  fflush(stdout);
  if (pid > 0) waitpid((pid_t)pid, NULL, 0);
}

static long clone_with(unsigned long flags)
{
#ifdef __s390x__
  return syscall(SYS_clone, 0, flags | SIGCHLD, 0, 0, 0);
#else
  return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
#endif
}

int main(void)
{
  // struct clone_args: flags come first, the signal is the fifth.
  unsigned long long arguments[8] = {0, 0, 0, 0, SIGCHLD};
  tell("clone", clone_with(0));
  tell("clone into a user namespace", clone_with(CLONE_NEWUSER));
  tell("clone3", syscall(SYS_clone3, arguments, sizeof arguments));
  return 0;
}
