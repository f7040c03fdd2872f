// A root filesystem from busybox-static, and OCI specs that run in it. Used by the daemon harness and the direct shim driver.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";

/** A program of this directory, static: its path in build/, where it is compiled when it is not there yet. */
export function compiled(name: "until-signal" | "clone-new"): string {
  const source = join(import.meta.dirname, `${name}.c`);
  const directory = join(import.meta.dirname, "../../build/test");
  const hash = createHash("sha256").update(readFileSync(source)).digest("hex").slice(0, 16);
  const path = join(directory, `${name}-${hash}`);
  if (!existsSync(path)) {
    mkdirSync(directory, { recursive: true });
    const fresh = `${path}.${process.pid}`;
    execFileSync("gcc", ["-Wall", "-Wextra", "-Werror", "-Os", "-static", "-s", "-o", fresh, source]);
    renameSync(fresh, path);
  }
  return path;
}

export const untilSignal = (): string => compiled("until-signal");

/** Fills `directory` with a small Linux system: busybox under all its names in /bin, and until-signal. */
export function buildRootfs(directory: string): string {
  for (const name of ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"]) {
    mkdirSync(join(directory, name), { recursive: true });
  }
  copyFileSync("/bin/busybox", join(directory, "bin", "busybox"));
  const applets = execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).trim().split("\n");
  for (const applet of applets) {
    if (applet !== "busybox") symlinkSync("busybox", join(directory, "bin", applet));
  }
  copyFileSync(untilSignal(), join(directory, "bin", "until-signal"));
  return directory;
}

export interface SpecOptions {
  readonly args: readonly string[];
  readonly rootfs: string;
  readonly cgroupsPath: string;
  readonly terminal?: boolean;
  readonly env?: readonly string[];
  readonly annotations?: Record<string, string>;
  /** Share the host's pid namespace: the container's processes outlive its init unless somebody kills them. */
  readonly hostPid?: boolean;
  readonly memoryLimitBytes?: number;
  readonly oomScoreAdj?: number;
}

const CAPABILITIES = [
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_KILL",
  "CAP_SETGID",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

/** An OCI runtime spec, for `ctr run --config` and for bundles made by hand. */
export function ociSpec(options: SpecOptions): Record<string, unknown> {
  const namespaces = ["mount", "ipc", "uts", "network", ...(options.hostPid ? [] : ["pid"])];
  const process = {
    terminal: options.terminal ?? false,
    user: { uid: 0, gid: 0 },
    args: options.args,
    env: ["PATH=/bin", ...(options.env ?? [])],
    cwd: "/",
    capabilities: { bounding: CAPABILITIES, effective: CAPABILITIES, permitted: CAPABILITIES },
    noNewPrivileges: true,
    ...(options.oomScoreAdj === undefined ? {} : { oomScoreAdj: options.oomScoreAdj }),
  };
  const memory =
    options.memoryLimitBytes === undefined ? {} : { memory: { limit: options.memoryLimitBytes } };
  return {
    ociVersion: "1.0.2",
    process,
    root: { path: options.rootfs },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755", "size=65536k"] },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["newinstance", "ptmxmode=0666"],
      },
    ],
    annotations: options.annotations ?? {},
    linux: {
      cgroupsPath: options.cgroupsPath,
      namespaces: namespaces.map((type) => ({ type })),
      resources: { devices: [{ allow: false, access: "rwm" }], ...memory },
    },
  };
}
