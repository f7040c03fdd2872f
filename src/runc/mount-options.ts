// fstab-style mount options as mount(2) wants them.

const flagBits: Readonly<Record<string, number>> = {
  ro: 1,
  nosuid: 2,
  nodev: 4,
  noexec: 8,
  sync: 16,
  remount: 32,
  mand: 64,
  dirsync: 128,
  noatime: 1024,
  nodiratime: 2048,
  bind: 4096,
  rbind: 4096 | 16384,
  relatime: 1 << 21,
  strictatime: 1 << 24,
};
const opposites: Readonly<Record<string, string>> = {
  rw: "ro",
  suid: "nosuid",
  dev: "nodev",
  exec: "noexec",
  async: "sync",
  nomand: "mand",
  atime: "noatime",
  diratime: "nodiratime",
  norelatime: "relatime",
  nostrictatime: "strictatime",
};
const REC = 16384;
const propagationBits: Readonly<Record<string, number>> = {
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
  runbindable: (1 << 17) | REC,
  rprivate: (1 << 18) | REC,
  rslave: (1 << 19) | REC,
  rshared: (1 << 20) | REC,
};

/** mount(2) takes one page of data; the margin is for its terminator. */
const MAX_DATA = 4095;

export interface MountOptions {
  /** MS_ bits of the mount itself. */
  readonly flags: number;
  /** MS_ bits of a second call that sets the propagation; 0 for none. */
  readonly propagation: number;
  /** What the file system itself is told. */
  readonly data: string;
  /** Whether the source is a file for a loop device. */
  readonly loop: boolean;
  /** Where relative paths in `data` start, if they do. */
  readonly directory?: string;
}

/** Sorts options into flags and data. Throws if the data is longer than the kernel takes. */
export function parseMountOptions(type: string, options: readonly string[]): MountOptions {
  let flags = 0;
  let propagation = 0;
  let loop = false;
  const rest: string[] = [];
  for (const option of options) {
    const set = flagBits[option];
    const cleared = flagBits[opposites[option] ?? ""];
    const spread = propagationBits[option];
    if (set !== undefined) flags |= set;
    else if (cleared !== undefined) flags &= ~cleared;
    else if (spread !== undefined) propagation |= spread;
    else if (option === "loop") loop = true;
    else if (!isNotTheKernels(option)) rest.push(option);
  }
  const data = rest.join(",");
  const sorted = { flags, propagation, data, loop };
  if (data.length <= MAX_DATA) return sorted;
  const shorter = type === "overlay" ? shortenLowerdirs(rest) : undefined;
  if (shorter === undefined || shorter.data.length > MAX_DATA) {
    throw new Error(`mount options of ${data.length} bytes are too long: ${type} takes ${MAX_DATA}`);
  }
  return { ...sorted, ...shorter };
}

/** "X-" and "x-" are for programs that read the options; id mappings are done by rootfs.ts. */
function isNotTheKernels(option: string): boolean {
  return (
    option === "defaults" || ["X-", "x-", "uidmap=", "gidmap="].some((start) => option.startsWith(start))
  );
}

/** Makes an overlay's lower directories relative to the directory that they share. */
function shortenLowerdirs(options: readonly string[]): { data: string; directory: string } | undefined {
  const key = "lowerdir=";
  const lowerdirs = options
    .find((option) => option.startsWith(key))
    ?.slice(key.length)
    .split(":");
  if (lowerdirs === undefined || lowerdirs.length < 2) return undefined;
  const directory = sharedDirectory(lowerdirs);
  if (directory === "/") return undefined;
  const relative = lowerdirs.map((path) => path.slice(directory.length)).join(":");
  const data = options.map((option) => (option.startsWith(key) ? key + relative : option)).join(",");
  return { data, directory };
}

/** The longest directory, with a slash at its end, that all paths lie in. */
function sharedDirectory(paths: readonly string[]): string {
  let shared = paths[0] ?? "";
  for (const path of paths) {
    while (!path.startsWith(shared)) shared = shared.slice(0, -1);
  }
  return shared.slice(0, shared.lastIndexOf("/") + 1);
}
