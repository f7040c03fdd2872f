// The system calls that a container may make unless --security-opt or --privileged says otherwise: what Docker's default profile allows (since its 25,
// that is without io_uring), as a table of our own. A call that the host's libseccomp or kernel does not know is left out by the runtime.
import { readFileSync } from "node:fs";
import { release } from "node:os";
import { parseExact } from "../text/exact-json.ts";
import { Problem, systemText, USAGE } from "../text/problem.ts";

/** For every container. */
const ALWAYS = `
  accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 clock_adjtime clock_adjtime64 clock_getres
  clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2
  dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
  exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl
  fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64
  futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64
  getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority
  getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32
  getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents
  io_pgetevents_time64 io_setup io_submit ioctl ioprio_get ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
  lchown lchown32 lgetxattr link linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise
  map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr
  mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync
  munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2
  pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv
  process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg
  recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
  rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
  sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64
  sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send
  sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid
  setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
  setrlimit setsid setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask
  sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee
  tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
  timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe utime
  utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev`;

/** Calls that the kernel itself allows to who has one of these capabilities, and that are dangerous for who does not. */
const BY_CAPABILITY: Readonly<Record<string, string>> = {
  CAP_BPF: "bpf",
  CAP_DAC_READ_SEARCH: "open_by_handle_at",
  CAP_PERFMON: "perf_event_open",
  CAP_SYS_ADMIN: `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount
    mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare`,
  CAP_SYS_BOOT: "reboot",
  CAP_SYS_CHROOT: "chroot",
  CAP_SYS_MODULE: "delete_module finit_module init_module",
  CAP_SYS_NICE: "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
  CAP_SYS_PACCT: "acct",
  CAP_SYS_PTRACE: "kcmp pidfd_getfd process_madvise",
  CAP_SYS_RAWIO: "ioperm iopl",
  CAP_SYS_TIME: "clock_settime clock_settime64 settimeofday stime",
  CAP_SYS_TTY_CONFIG: "vhangup",
  CAP_SYSLOG: "syslog",
};

/** Calls of one processor only, and the architectures that its kernel runs programs of. */
const BY_MACHINE: Readonly<
  Record<string, { readonly names: string; readonly architectures: readonly string[] }>
> = {
  x64: { names: "arch_prctl modify_ldt", architectures: ["X86_64", "X86", "X32"] },
  arm64: {
    names: "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
    architectures: ["AARCH64", "ARM"],
  },
  ppc64: { names: "swapcontext sync_file_range2", architectures: ["PPC64LE"] },
  s390x: {
    names: "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
    architectures: ["S390X", "S390"],
  },
  riscv64: { names: "riscv_flush_icache riscv_hwprobe", architectures: ["RISCV64"] },
};

const AF_VSOCK = 40;
/** Linux, BSD and 32 bits with and without address randomisation; and the question. */
const PERSONALITIES: readonly number[] = [0x0, 0x8, 0x20000, 0x20008, 0xffffffff];
/** The flags of clone that make a namespace: mount, cgroup, uts, ipc, user, pid and network. */
const NEW_NAMESPACES = 0x7e020000;
const EPERM = 1;
const ENOSYS = 38;

/** OCI's linux.seccomp for a container that may have these capabilities. */
export function defaultSeccomp(
  capabilities: readonly string[],
  machine: string = process.arch,
): Record<string, unknown> {
  const { names = "", architectures = [] } = BY_MACHINE[machine] ?? {};
  const byCapability = capabilities.map((capability) => BY_CAPABILITY[capability] ?? "");
  const allowed = [ALWAYS, names, ...byCapability].join(" ").split(/\s+/).filter(Boolean);
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    defaultErrnoRet: EPERM,
    architectures: architectures.map((name) => `SCMP_ARCH_${name}`),
    syscalls: [
      { names: [...new Set(allowed)].sort(), action: "SCMP_ACT_ALLOW" },
      // A socket to the host's hypervisor is in no namespace.
      allowedIf("socket", { index: 0, value: AF_VSOCK, op: "SCMP_CMP_NE" }),
      ...PERSONALITIES.map((value) => allowedIf("personality", { index: 0, value, op: "SCMP_CMP_EQ" })),
      ...(capabilities.includes("CAP_SYS_ADMIN") ? [] : noNewNamespaces(machine)),
    ],
  };
}

/** clone3 hides its flags behind a pointer: programs fall back to clone when it is not there. */
function noNewNamespaces(machine: string): Record<string, unknown>[] {
  const index = machine === "s390x" ? 1 : 0;
  return [
    allowedIf("clone", { index, value: NEW_NAMESPACES, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }),
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS },
  ];
}

function allowedIf(name: string, argument: Record<string, unknown>): Record<string, unknown> {
  return { names: [name], action: "SCMP_ACT_ALLOW", args: [argument] };
}

/** A profile in a file, in OCI's form or in Docker's, which has rules for some capabilities, machines and kernels only. Throws a Problem. */
export function seccompFile(path: string, capabilities: readonly string[]): Record<string, unknown> {
  let profile: unknown;
  try {
    profile = parseExact(readFileSync(path, "utf8"));
  } catch (error) {
    throw new Problem(`--security-opt seccomp=${path}: ${systemText(error)}`, USAGE, { cause: error });
  }
  if (typeof profile !== "object" || profile === null || !("defaultAction" in profile)) {
    throw new Problem(`--security-opt seccomp=${path}: no seccomp profile: it has no defaultAction`, USAGE);
  }
  return plainProfile(profile as DockerProfile, capabilities);
}

interface Condition {
  readonly caps?: readonly string[];
  readonly arches?: readonly string[];
  readonly minKernel?: string;
}

interface DockerRule {
  readonly name?: string;
  readonly names?: readonly string[];
  readonly comment?: string;
  readonly includes?: Condition;
  readonly excludes?: Condition;
}

interface DockerProfile {
  readonly archMap?: readonly { architecture: string; subArchitectures?: readonly string[] | null }[];
  readonly syscalls?: readonly DockerRule[];
}

/** What Docker calls the machines that Node names otherwise. */
const DOCKER_MACHINES: Readonly<Record<string, string>> = { x64: "amd64", ppc64: "ppc64le" };

function plainProfile(profile: DockerProfile, capabilities: readonly string[]): Record<string, unknown> {
  const { archMap, syscalls = [], ...rest } = profile;
  const own = `SCMP_ARCH_${BY_MACHINE[process.arch]?.architectures[0]}`;
  const mapped = archMap?.find(({ architecture }) => architecture === own);
  const rules = syscalls.filter(
    ({ includes, excludes }) =>
      (includes === undefined || meets(includes, capabilities, true)) &&
      (excludes === undefined || !meets(excludes, capabilities, false)),
  );
  return {
    ...rest,
    ...(mapped !== undefined && { architectures: [own, ...(mapped.subArchitectures ?? [])] }),
    syscalls: rules.map(({ name, comment: _, includes: _in, excludes: _out, ...rule }) => ({
      ...rule,
      names: rule.names ?? [name ?? ""],
    })),
  };
}

/** Whether all parts of a condition hold, or any of them. */
function meets(
  { caps, arches, minKernel }: Condition,
  capabilities: readonly string[],
  all: boolean,
): boolean {
  const machine = DOCKER_MACHINES[process.arch] ?? process.arch;
  const parts = [
    ...(caps ?? []).map((each) => capabilities.includes(each)),
    ...(arches === undefined || arches.length === 0 ? [] : [arches.includes(machine)]),
    ...(minKernel === undefined ? [] : [isAtLeast(release(), minKernel)]),
  ];
  return all ? parts.every(Boolean) : parts.some(Boolean);
}

function isAtLeast(kernel: string, wanted: string): boolean {
  const numbers = (text: string): number[] => text.split(/[.-]/, 2).map(Number);
  const [[major = 0, minor = 0], [wantedMajor = 0, wantedMinor = 0]] = [numbers(kernel), numbers(wanted)];
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
