// Mounts of snapshots: as the API has them, as holdfast-layer takes them, and such that nobody can write by them.

/** One mount(2), as the API has it. */
export interface SnapshotMount {
  readonly type: string;
  readonly source: string;
  readonly target: string;
  readonly options: string[];
}

const MS_RDONLY = 1;
const MS_BIND = 4096;
const MS_REC = 16384;
/** Options that are flags of mount(2); all others are the file system's own. */
const FLAGS: ReadonlyMap<string, number> = new Map(
  Object.entries({
    ro: MS_RDONLY,
    rw: 0,
    bind: MS_BIND,
    rbind: MS_BIND | MS_REC,
  }),
);
/** The same files, which nobody can change by this mount: of an overlay the upper directory becomes its topmost lower one. */
export function readOnly(mount: SnapshotMount): SnapshotMount {
  const { type, options } = mount;
  if (type !== "overlay") return { ...mount, options: [...options.filter((each) => each !== "rw"), "ro"] };
  const value = (name: string): string[] =>
    options.filter((each) => each.startsWith(`${name}=`)).map((each) => each.slice(name.length + 1));
  const rest = options.filter((each) => !DIRECTORIES.test(each));
  return {
    ...mount,
    options: [...rest, "ro", `lowerdir=${[...value("upperdir"), ...value("lowerdir")].join(":")}`],
  };
}

/** The directories that a mount shows files of. */
export function mountDirectories({ type, source, options }: SnapshotMount): string[] {
  if (type !== "overlay") return source.startsWith("/") ? [source] : [];
  return options.filter((option) => !option.startsWith("workdir=")).flatMap(directoriesOf);
}

/** Type, source, flags and data of each mount; overlay's directories are relative to `base`, as the kernel takes one page of them. */
export function mountArguments(mounts: readonly SnapshotMount[]): { base: string; args: string[] } {
  const base = commonDirectory(mounts.flatMap(({ options }) => options.flatMap(directoriesOf)));
  const args = mounts.flatMap(({ type, source, options }) => {
    const flags = options.reduce((sum, option) => sum | (FLAGS.get(option) ?? 0), 0);
    const data = options.filter((option) => !FLAGS.has(option)).map((option) => relativeTo(base, option));
    return [type, source, String(flags), data.join(",")];
  });
  return { base: base === "" ? "/" : base, args };
}

const DIRECTORIES = /^(lowerdir|upperdir|workdir)=(.*)$/s;

function directoriesOf(option: string): string[] {
  return DIRECTORIES.exec(option)?.[2]?.split(":") ?? [];
}

function relativeTo(base: string, option: string): string {
  const found = DIRECTORIES.exec(option);
  if (base === "" || found === null) return option;
  const [, name = "", value = ""] = found;
  return `${name}=${value
    .split(":")
    .map((path) => path.slice(base.length + 1))
    .join(":")}`;
}

/** The directory that all lie in; "" if there is none but the root. */
function commonDirectory(paths: readonly string[]): string {
  const [first = "", ...rest] = paths.map((path) => path.split("/").slice(0, -1));
  if (first === "") return "";
  const same = first.findIndex((part, index) => rest.some((other) => other[index] !== part));
  return first.slice(0, same < 0 ? first.length : same).join("/");
}
