// The virtual machine's disks: a Debian with its kernel, made once and kept, and a small one with the shim and the tests, made each time. Used by main.ts.
import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { build } from "esbuild";
import { untilSignal } from "../../test/harness/rootfs.ts";
import { hashOf, root } from "../cache.ts";
import { debianRoot, versionsIn } from "../matrix/roots.ts";
import { SHOWN } from "../matrix/rows.ts";

/** A system that boots, with all that the tests call. Its containerd does not start by itself. */
const PACKAGES = [
  ...["linux-image-cloud-amd64", "initramfs-tools", "systemd", "systemd-sysv", "dbus"],
  ...["containerd", "runc", "busybox-static", "procps", "bsdutils", "mount", "util-linux", "kmod"],
];
const SUITE = "trixie";
/** Where the second disk is mounted. */
const MOUNT = "/holdfast";

export interface Machine {
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
  readonly versions: Readonly<Record<string, string>>;
}

/** The machine's own disk, kernel and initial RAM disk. */
export function machine(scratch: string): Machine {
  const system = debianRoot(SUITE, PACKAGES);
  const boot = (prefix: string): string => {
    const name = readdirSync(join(system, "boot")).find((each) => each.startsWith(prefix));
    if (name === undefined) throw new Error(`${system} has no ${prefix} in /boot`);
    return join(system, "boot", name);
  };
  const recipe = readFileSync(join(import.meta.dirname, "image.ts"));
  const disk = `${system}-${hashOf([recipe]).slice(0, 12)}.ext4`;
  if (!existsSync(disk)) {
    prepare(system);
    makeDisk(system, `${disk}.${process.pid}`, 1800);
    renameSync(`${disk}.${process.pid}`, disk);
  }
  const kernel = boot("vmlinuz-");
  const release = basename(kernel).replace("vmlinuz-", "").replace(/-.*/, "");
  const versions = { linux: release, ...versionsIn(system, [...SHOWN, "systemd"]) };
  return { kernel, initrd: initialDisk(system, kernel, scratch), disk, versions };
}

/** What the kernel lacks of its own to find its disks: a module, and a shell that hands over to the disk's init. Debian's takes a minute to unpack and to look around. */
function initialDisk(system: string, kernel: string, scratch: string): string {
  const stage = join(scratch, "initial");
  for (const directory of ["bin", "dev", "disk"]) mkdirSync(join(stage, directory), { recursive: true });
  const busybox = join(system, "usr/bin/busybox");
  copyFileSync(busybox, join(stage, "bin/busybox"));
  symlinkSync("busybox", join(stage, "bin/sh"));
  const release = basename(kernel).replace("vmlinuz-", "");
  const module = join(system, "usr/lib/modules", release, "kernel/drivers/block/virtio_blk.ko.xz");
  writeFileSync(join(stage, "virtio_blk.ko"), execFileSync(busybox, ["xzcat", module]));
  const init = [
    "#!/bin/sh",
    "busybox mount -t devtmpfs none /dev",
    "busybox insmod /virtio_blk.ko",
    "busybox mount -t ext4 /dev/vda /disk",
    `busybox mount -t ext4 -o ro /dev/vdb /disk${MOUNT}`,
    "busybox mount -o move /dev /disk/dev",
    "exec busybox switch_root /disk /sbin/init",
  ];
  writeFileSync(join(stage, "init"), `${init.join("\n")}\n`, { mode: 0o755 });
  const files = execFileSync("find", ["."], { cwd: stage });
  const path = join(scratch, "initial.cpio");
  const made = spawnSync(busybox, ["cpio", "-o", "-H", "newc"], {
    cwd: stage,
    input: files,
    maxBuffer: 64 << 20,
  });
  if (made.status !== 0) throw new Error(`cpio: ${made.stderr}`);
  writeFileSync(path, made.stdout);
  return path;
}

/** Lets the system run the tests when it has booted, and nothing else. */
function prepare(system: string): void {
  const units = join(system, "etc/systemd/system");
  const unit = [
    "[Unit]",
    "Description=Holdfast's tests",
    "[Service]",
    "Type=oneshot",
    "StandardOutput=tty",
    "StandardError=tty",
    "TTYPath=/dev/ttyS0",
    `ExecStart=/bin/sh ${MOUNT}/run`,
    "ExecStopPost=/bin/systemctl poweroff --force",
  ];
  writeFileSync(join(units, "holdfast-tests.service"), `${unit.join("\n")}\n`);
  // Both disks are mounted before systemd begins.
  writeFileSync(join(system, "etc/fstab"), "");
  mkdirSync(join(system, MOUNT), { recursive: true });
  for (const name of ["default.target.wants", "multi-user.target.wants"]) {
    mkdirSync(join(units, name), { recursive: true });
  }
  const want = join(units, "multi-user.target.wants/holdfast-tests.service");
  if (!existsSync(want)) symlinkSync("../holdfast-tests.service", want);
  for (const name of [
    "containerd.service",
    "getty@tty1.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    // What an emulated processor spends most of the start on, for devices that are there anyway and users that never come.
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-logind.service",
    "systemd-binfmt.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-journal-flush.service",
    "fstrim.timer",
    "dpkg-db-backup.timer",
  ]) {
    const mask = join(units, name);
    rmSync(mask, { force: true });
    symlinkSync("/dev/null", mask);
  }
  // A default target of its own, without a login on the console.
  const target = join(units, "default.target");
  rmSync(target, { force: true });
  symlinkSync("/usr/lib/systemd/system/multi-user.target", target);
}

/** An ext4 of `megabytes` with what is in a directory. */
function makeDisk(directory: string, path: string, megabytes: number): void {
  rmSync(path, { force: true });
  const args = ["-q", "-t", "ext4", "-O", "^has_journal", "-d", directory, path, `${megabytes}M`];
  execFileSync("mke2fs", args, { stdio: ["ignore", "ignore", "inherit"] });
}

/** Before a bundle: what its parts of CommonJS call, and a word to the watch outside (watch.ts) when a test begins. */
function bannerOf(file: string): string {
  const word = `JSON.stringify({ file: ${JSON.stringify(file)}, began: test.name }) + "\\n"`;
  return [
    'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    'import { beforeEach as beforeEachTest } from "node:test"; import { appendFileSync as tell } from "node:fs";',
    `beforeEachTest((test) => tell("/dev/ttyS1", ${word}));`,
  ].join("\n");
}

/** The disk with Node.js, the shim and these test files, each bundled: an emulated processor is slow at compiling. Returns its path. */
export async function testDisk(files: readonly string[], scratch: string): Promise<string> {
  const stage = join(scratch, "stage");
  const repository = join(stage, "repository");
  mkdirSync(join(repository, "dist"), { recursive: true });
  copyFileSync(realpathSync(process.execPath), join(stage, "node"));
  copyFileSync(
    join(root, "dist/containerd-shim-holdfast-v2"),
    join(repository, "dist/containerd-shim-holdfast-v2"),
  );
  copyFileSync(join(root, "scripts/results/reporter.mjs"), join(repository, "reporter.mjs"));
  // Compiled here: the machine has no compiler.
  const program = untilSignal();
  mkdirSync(join(repository, "build/test"), { recursive: true });
  copyFileSync(program, join(repository, "build/test", basename(program)));
  const bundles: string[] = [];
  for (const file of files) {
    // At the same depth: the harness finds the repository from where it is itself.
    const outfile = join(repository, file.replace(/\.ts$/, ".mjs"));
    await build({
      entryPoints: [join(root, file)],
      outfile,
      bundle: true,
      platform: "node",
      target: "node20",
      format: "esm",
      logLevel: "error",
      banner: { js: bannerOf(file) },
    });
    // What the harness reads stands beside the bundle that it has become a part of.
    for (const data of ["test/cri/cri.proto", "test/harness/until-signal.c"]) {
      copyFileSync(join(root, data), join(dirname(outfile), basename(data)));
    }
    bundles.push(file.replace(/\.ts$/, ".mjs"));
  }
  const script = readFileSync(join(import.meta.dirname, "run.sh"), "utf8");
  writeFileSync(join(stage, "run"), script.replaceAll("@FILES@", bundles.join(" ")));
  const disk = join(scratch, "tests.ext4");
  makeDisk(stage, disk, 260);
  return disk;
}
