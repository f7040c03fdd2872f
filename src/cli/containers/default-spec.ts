// The OCI spec of a container that is run from a root file system: what Docker gives a plain container, and nothing of an image or a network. Whatever
// a process would inherit is written out, so that neither the daemon's limits nor its scores reach it. docs/holdfast.md has it in words.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { Problem, USAGE } from "../text/problem.ts";
import { CAP_SYS_RESOURCE, hasCapability, type Security } from "./security.ts";
import type { Spec, SpecFlags } from "./spec-flags.ts";

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** 022. */
const UMASK = 18;
const NONE = 2n ** 64n - 1n;
const MIB = 2 ** 20;

/** Throws a Problem for flags that name what is not there. */
export function plainSpec(flags: SpecFlags, security: Security): Spec {
  const { image } = flags;
  const { Env = [], Entrypoint = [], Cmd = [], WorkingDir } = image?.config.config ?? {};
  // A snapshot is mounted in the bundle.
  const root = image === undefined ? directoryOf(flags.rootfs ?? "") : "rootfs";
  if (flags.command.length + Entrypoint.length + Cmd.length === 0)
    throw new Problem("what to run? Give a command after the flags", USAGE);
  const namespaces = ["pid", "ipc", "uts", "mount", ...(flags.hostNetwork ? [] : ["network"])];
  const { capabilities, privileged, seccomp, noNewPrivileges } = security;
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0, umask: UMASK },
      env: Env.some((entry) => entry.startsWith("PATH=")) ? Env : [PATH, ...Env],
      cwd: WorkingDir || "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: defaultLimits(),
      noNewPrivileges,
      oomScoreAdj: 0,
    },
    root: { path: root, readonly: flags.readOnly },
    mounts: privileged ? DEFAULT_MOUNTS.map(writable) : DEFAULT_MOUNTS,
    linux: {
      namespaces: namespaces.map((type) => ({ type })),
      ...(!flags.hostNetwork && { sysctl: OWN_NETWORK }),
      ...(seccomp !== undefined && { seccomp }),
      ...(privileged
        ? { devices: hostDevices("/dev"), resources: { devices: [{ allow: true, access: "rwm" }] } }
        : {
            resources: { devices: DEFAULT_DEVICES },
            maskedPaths: MASKED.filter(isThere),
            readonlyPaths: READ_ONLY,
          }),
    },
  };
}

/** Throws a Problem that names it. */
function directoryOf(rootfs: string): string {
  const root = resolve(rootfs);
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory() === true) return root;
  throw new Problem(`--rootfs ${rootfs}: no such directory`);
}

/**
 * Limits as a service of systemd has them on a plain host, which since Docker 25 is what a container of Docker's has: 1024 open files, and up to
 * 524288 for who asks. Signals by the kernel's own rule. Where limits cannot be raised, because we are in a container ourselves, the number of open
 * files alone, as containerd sets it.
 */
function defaultLimits(): Record<string, unknown>[] {
  if (!hasCapability(CAP_SYS_RESOURCE)) return [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 1024 }];
  const threads = Number(readFileSync("/proc/sys/kernel/threads-max", "utf8"));
  const perUser = Math.floor(threads / 2);
  const limits: readonly (readonly [name: string, soft: number | bigint, hard: number | bigint])[] = [
    ["NOFILE", 1024, 524_288],
    ["NPROC", NONE, NONE],
    ["SIGPENDING", perUser, perUser],
    ["CORE", NONE, NONE],
    ["STACK", 8 * MIB, NONE],
    ["MEMLOCK", 8 * MIB, 8 * MIB],
    ["MSGQUEUE", 819_200, 819_200],
    ["NICE", 0, 0],
    ["RTPRIO", 0, 0],
    ...["AS", "CPU", "DATA", "FSIZE", "LOCKS", "RSS", "RTTIME"].map((name) => [name, NONE, NONE] as const),
  ];
  return limits.map(([name, soft, hard]) => ({ type: `RLIMIT_${name}`, soft, hard }));
}

function mount(destination: string, type: string, ...options: string[]): Record<string, unknown> {
  return { destination, type, source: type, options };
}

const DEFAULT_MOUNTS = [
  mount("/proc", "proc", "nosuid", "noexec", "nodev"),
  mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
  mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
  mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
  mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
  mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
  mount("/run", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
];

function device(type: string, major: number, minor?: number): Record<string, unknown> {
  return { allow: true, type, major, ...(minor !== undefined && { minor }), access: "rwm" };
}

/** null, zero, full, tty, random, urandom, ptmx, pts. */
const DEFAULT_DEVICES = [
  { allow: false, access: "rwm" },
  ...[3, 5, 7, 8, 9].map((minor) => device("c", 1, minor)),
  device("c", 5, 0),
  device("c", 5, 2),
  device("c", 136),
];

/** Names below which a kernel has more of the host than a container should see; one that this kernel lacks is left out. */
const MASKED = [
  ...[
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
  ].map((name) => `/proc/${name}`),
  "/sys/devices/virtual/powercap",
  "/sys/firmware",
];

const READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** In a network of its own a container may listen on any port, and send pings, without being root. */
const OWN_NETWORK = {
  "net.ipv4.ip_unprivileged_port_start": "0",
  "net.ipv4.ping_group_range": "0 2147483647",
};

/** The runtime passes over what is not there; a path less is a mount less. */
function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function writable(mounted: Record<string, unknown>): Record<string, unknown> {
  return { ...mounted, options: (mounted.options as string[]).filter((option) => option !== "ro") };
}

/** Directories of /dev that a container has its own of. */
const OWN_DEVICES: readonly string[] = [
  "pts",
  "shm",
  "fd",
  "mqueue",
  ".lxc",
  ".lxd-mounts",
  ".udev",
  "console",
];

/** All device files below a directory, for a privileged container. */
function hostDevices(directory: string): Record<string, unknown>[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    if (OWN_DEVICES.includes(entry.name)) return [];
    if (entry.isDirectory()) return hostDevices(path);
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) return [];
    const { rdev, mode, uid, gid } = statSync(path);
    const type = entry.isBlockDevice() ? "b" : "c";
    return [{ path, type, ...deviceNumbers(rdev), fileMode: mode & 0o777, uid, gid }];
  });
}

/** As in glibc's gnu_dev_major and gnu_dev_minor. */
function deviceNumbers(rdev: number): { major: number; minor: number } {
  const all = BigInt(rdev);
  const part = (shift: bigint, mask: bigint): bigint => (all >> shift) & mask;
  return {
    major: Number(part(8n, 0xfffn) | part(32n, 0xfffff000n)),
    minor: Number(part(0n, 0xffn) | part(12n, 0xffffff00n)),
  };
}
