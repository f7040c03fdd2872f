// Root file systems for a user namespace: the owners of an image's files are mapped by the mount, so that no file is copied or changed. containerd asks
// for it by the options `uidmap=` and `gidmap=`.
import { isSystemError, type Platform } from "../platform/platform.ts";

const LOWER = "lowerdir=";

/** A user namespace of the mappings that the options ask for; undefined if they ask for none. The descriptor is the caller's. */
export function openMapping(platform: Platform, options: readonly string[]): number | undefined {
  const [uids, gids] = ["uidmap=", "gidmap="].map((name) =>
    options.find((option) => option.startsWith(name))?.slice(name.length),
  );
  if (!uids && !gids) return undefined;
  if (!uids || !gids) throw new Error("uidmap and gidmap must come together");
  return platform.mounts.userNamespace(mapLines(uids), mapLines(gids));
}

/** "container:host:size,…" as the kernel reads it. */
function mapLines(mappings: string): string {
  const lines = mappings.split(",").map((mapping) => {
    const numbers = mapping.split(":");
    const good = numbers.length === 3 && numbers.every((number) => isWhole(number));
    if (!good) throw new Error(`id mapping ${mapping}: expected CONTAINER:HOST:SIZE`);
    return `${numbers.join(" ")}\n`;
  });
  return lines.join("");
}

function isWhole(text: string): boolean {
  return text !== "" && [...text].every((digit) => digit >= "0" && digit <= "9") && Number(text) < 2 ** 32;
}

/** The options of an overlay with mapped copies of its lower directories in the place of these. unmountLowerdirs() must follow. */
export function mapLowerdirs(
  platform: Platform,
  bundle: string,
  options: readonly string[],
  userns: number,
): string[] {
  const { files, mounts } = platform;
  const base = lowerdirs(bundle);
  if (!options.some((option) => option.startsWith(LOWER)))
    throw new Error("an id-mapped overlay has no lowerdir");
  // A directory of its own for each: the same layers may be mapped otherwise for another container.
  files.makeDirectory(base, 0o700);
  return options.map((option) => {
    if (!option.startsWith(LOWER)) return option;
    const mapped = option
      .slice(LOWER.length)
      .split(":")
      .map((source, index) => {
        const target = `${base}/${index}`;
        files.makeDirectory(target, 0o700);
        mounts.attachIdMapped(source, target, userns);
        return target;
      });
    return LOWER + mapped.join(":");
  });
}

/** Removes what mapLowerdirs has made. Called again for what a shim that was killed has left. */
export function unmountLowerdirs({ files, mounts }: Platform, bundle: string): void {
  const base = lowerdirs(bundle);
  if (files.stat(base) === null) return;
  for (const name of files.list(base)) {
    try {
      mounts.unmount(`${base}/${name}`, true);
    } catch (error) {
      if (!isSystemError(error, "EINVAL")) throw error;
    }
    files.removeDirectory(`${base}/${name}`);
  }
  files.removeDirectory(base);
}

function lowerdirs(bundle: string): string {
  return `${bundle}/lowerdirs`;
}
