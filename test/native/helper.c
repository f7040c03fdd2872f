// The other side of what the native tests cannot do from TypeScript, compiled by host-program.ts.
//   helper pass SOCKET                    connects and sends pipes and text
//   helper terminal SOCKET COMMAND...     opens a terminal, sends its master, and runs COMMAND on it after an answer
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int dial(const char *path)
{
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) err(1, "connect %s", path);
  return fd;
}

static void pass(int socket, const char *text, const int *fds, int count)
{
  char control[CMSG_SPACE(sizeof(int) * 8)] = {0};
  struct iovec part = {.iov_base = (void *)text, .iov_len = strlen(text)};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * (size_t)count);
  }
  if (sendmsg(socket, &message, 0) < 0) err(1, "sendmsg");
}

static void wait_for_answer(int socket)
{
  char answer[16];
  if (read(socket, answer, sizeof answer) <= 0) errx(1, "no answer");
}

static int pass_pipes(const char *path)
{
  int socket = dial(path), a[2], b[2];
  if (pipe(a) < 0 || pipe(b) < 0) err(1, "pipe");
  if (write(a[1], "first pipe", 10) < 0 || write(b[1], "second pipe", 11) < 0) err(1, "write");
  pass(socket, "two", (int[]){a[0], b[0]}, 2);
  wait_for_answer(socket);
  pass(socket, "none", NULL, 0);
  wait_for_answer(socket);
  return 0;
}

static int run_on_terminal(const char *path, char **command)
{
  int socket = dial(path), master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
  if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0) err(1, "ptmx");
  int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  if (slave < 0) err(1, "slave");
  pass(socket, "tty", &master, 1);
  close(master);
  wait_for_answer(socket);
  close(socket);
  pid_t child = fork();
  if (child == 0) {
    setsid();
    ioctl(slave, TIOCSCTTY, 0);
    for (int fd = 0; fd < 3; fd++) dup2(slave, fd);
    close(slave);
    execvp(command[0], command);
    err(127, "%s", command[0]);
  }
  close(slave);
  int status;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
  if (argc >= 3 && strcmp(argv[1], "pass") == 0) return pass_pipes(argv[2]);
  if (argc >= 4 && strcmp(argv[1], "terminal") == 0) return run_on_terminal(argv[2], argv + 3);
  errx(2, "unknown command");
}
