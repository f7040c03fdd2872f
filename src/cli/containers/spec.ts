// The OCI spec of a container that is run from flags: what people expect of a plain container, and nothing of a network or an image.
import { existsSync, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { Problem, USAGE } from "../text/problem.ts";
import { readBundleSpec } from "./exec-process.ts";
import { parseUser, withEnvironment } from "./spec-process.ts";

export interface SpecFlags {
  readonly rootfs: string | undefined;
  readonly bundle: string | undefined;
  readonly command: readonly string[];
  readonly terminal: boolean;
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly user: string | undefined;
  readonly hostname: string | undefined;
  readonly mounts: readonly string[];
  readonly readOnly: boolean;
  /** Bytes. */
  readonly memory: number | undefined;
  readonly cpus: number | undefined;
  readonly hostNetwork: boolean;
  readonly annotations: Readonly<Record<string, string>>;
}

export type Spec = Record<string, unknown>;

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CPU_PERIOD_US = 100_000;

/** What an unprivileged service needs at most, as in other engines. */
const CAPABILITIES = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FSETID",
  "FOWNER",
  "MKNOD",
  "NET_RAW",
  "SETGID",
  "SETUID",
  "SETFCAP",
  "SETPCAP",
  "NET_BIND_SERVICE",
  "SYS_CHROOT",
  "KILL",
  "AUDIT_WRITE",
].map((name) => `CAP_${name}`);

/** Throws a Problem for flags that contradict each other or name what is not there. */
export function makeSpec(namespace: string, id: string, flags: SpecFlags): Spec {
  if ((flags.rootfs === undefined) === (flags.bundle === undefined)) {
    throw new Problem("give either --rootfs DIR or --bundle DIR", USAGE);
  }
  const base = flags.bundle === undefined ? plainSpec(flags) : bundleSpec(flags.bundle);
  const process = base.process as Record<string, unknown>;
  const linux = base.linux as Record<string, unknown>;
  const terminal = flags.terminal || process.terminal === true;
  return {
    ...base,
    ...(flags.hostname !== undefined && { hostname: flags.hostname }),
    mounts: [...(base.mounts as unknown[]), ...flags.mounts.map(parseMount)],
    process: {
      ...process,
      terminal,
      ...(flags.command.length > 0 && { args: flags.command }),
      ...(flags.cwd !== undefined && { cwd: flags.cwd }),
      ...(flags.user !== undefined && { user: parseUser(flags.user) }),
      env: withEnvironment((process.env as string[] | undefined) ?? [], flags.env, terminal),
    },
    annotations: { ...(base.annotations as object | undefined), ...flags.annotations },
    linux: {
      ...linux,
      cgroupsPath: linux.cgroupsPath ?? `/${namespace}/${id}`,
      resources: limited((linux.resources as Record<string, unknown> | undefined) ?? {}, flags),
    },
  };
}

/** OCI LinuxResources for the limits that flags give, over `base`. */
export function limited(
  base: Record<string, unknown>,
  { memory, cpus }: { readonly memory: number | undefined; readonly cpus: number | undefined },
): Record<string, unknown> {
  return {
    ...base,
    ...(memory !== undefined && { memory: { ...(base.memory as object | undefined), limit: memory } }),
    ...(cpus !== undefined && {
      cpu: {
        ...(base.cpu as object | undefined),
        period: CPU_PERIOD_US,
        quota: Math.round(cpus * CPU_PERIOD_US),
      },
    }),
  };
}

/**
 * The OCI mount of "type=bind,source=/data,target=/srv,options=ro:nosuid"; src, dst, destination and a bare "readonly" are known too.
 * Throws a Problem.
 */
export function parseMount(text: string): Record<string, unknown> {
  const fields = new Map<string, string>();
  for (const part of text.split(",")) {
    const [key = "", ...value] = part.split("=");
    fields.set(key.trim().toLowerCase(), value.join("="));
  }
  const take = (...keys: string[]): string | undefined =>
    keys.map((key) => fields.get(key)).find((value) => value);
  const type = take("type") ?? "bind";
  const destination = take("target", "destination", "dst");
  const source = take("source", "src") ?? (type === "bind" ? undefined : type);
  if (destination === undefined || source === undefined) {
    throw new Problem(
      `--mount ${text}: needs source and target: type=bind,source=/here,target=/there`,
      USAGE,
    );
  }
  if (type === "bind" && !existsSync(source)) throw new Problem(`--mount ${text}: ${source}: no such file`);
  const options = (take("options", "o") ?? "").split(":").filter(Boolean);
  if (type === "bind" && !options.some((option) => /^r?bind$/.test(option))) options.unshift("rbind");
  if (fields.has("readonly") || fields.has("ro")) options.push("ro");
  return { destination, type, source: type === "bind" ? resolve(source) : source, options };
}

function plainSpec(flags: SpecFlags): Spec {
  const root = resolve(flags.rootfs ?? "");
  if (statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new Problem(`--rootfs ${flags.rootfs}: no such directory`);
  }
  if (flags.command.length === 0) throw new Problem("what to run? Give a command after the flags", USAGE);
  const namespaces = ["pid", "ipc", "uts", "mount", ...(flags.hostNetwork ? [] : ["network"])];
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      env: [PATH],
      cwd: "/",
      capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: root, readonly: flags.readOnly },
    mounts: DEFAULT_MOUNTS,
    linux: {
      namespaces: namespaces.map((type) => ({ type })),
      resources: { devices: DEFAULT_DEVICES },
      maskedPaths: MASKED,
      readonlyPaths: READ_ONLY,
    },
  };
}

function bundleSpec(bundle: string): Spec {
  const spec = readBundleSpec(resolve(bundle));
  const root = spec.root as { path?: unknown } | undefined;
  if (typeof root?.path !== "string") throw new Problem(`${join(bundle, "config.json")}: names no root.path`);
  const path = isAbsolute(root.path) ? root.path : resolve(bundle, root.path);
  return { process: {}, linux: {}, mounts: [], ...spec, root: { ...root, path } };
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

const MASKED = [
  "/proc/acpi",
  "/proc/asound",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
];

const READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
