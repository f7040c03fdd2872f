// The mounts of a bundle's root file system: made at Create, undone at Delete and by the `delete` command.
import { parseMountinfo } from "../platform/mountinfo.ts";
import { isSystemError, type Platform } from "../platform/platform.ts";
import { mapLowerdirs, openMapping, unmountLowerdirs } from "./id-mapped.ts";
import { parseMountOptions } from "./mount-options.ts";

/** One entry of a Create request's rootfs. */
export interface RootfsMount {
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
  /** Where in the root file system, as the container sees it; empty for its root. */
  readonly target?: string;
}

/** Mounts the entries of a Create request onto the bundle's `rootfs`, in order. On any failure all of them are undone. */
export function mountRootfs(platform: Platform, bundle: string, mounts: readonly RootfsMount[]): void {
  if (mounts.length === 0) return;
  const root = `${bundle}/rootfs`;
  try {
    platform.files.makeDirectory(root, 0o711);
  } catch (error) {
    if (!isSystemError(error, "EEXIST")) throw error;
    // A mount would follow a link, to wherever it leads; no unmount would find it there.
    const kind = platform.files.stat(root)?.kind;
    if (kind !== "directory") throw new Error(`${root}: is a ${kind}`);
  }
  try {
    for (const mount of mounts) mountOne(platform, bundle, root, mount);
  } catch (error) {
    unmountRootfs(platform, bundle);
    throw error;
  }
}

/** Undoes every mount on the bundle's `rootfs` and below it, also a stack of them. Nothing mounted, or no such directory, is fine. */
export function unmountRootfs(platform: Platform, bundle: string): void {
  unmountLowerdirs(platform, bundle);
  const root = `${bundle}/rootfs`;
  while (unmountOne(platform, root));
  // What is left was never below one of those: a mount with a target of its own.
  const table = platform.files.read("/proc/self/mountinfo");
  const lines = table.split("\n").filter((line) => line.includes("/rootfs/"));
  for (const { point } of parseMountinfo(lines.join("\n")).reverse()) {
    if (point.startsWith(`${root}/`)) unmountOne(platform, point);
  }
}

/** Whether something was mounted there, and is not any more. */
function unmountOne({ mounts }: Platform, target: string): boolean {
  try {
    mounts.unmount(target, false);
  } catch (error) {
    if (isSystemError(error, "EINVAL") || isSystemError(error, "ENOENT")) return false;
    if (!isSystemError(error, "EBUSY")) throw error;
    // Somebody still looks in, or something is mounted further down: detach it, so that it goes with the last of them.
    mounts.unmount(target, true);
  }
  return true;
}

const MS_RDONLY = 1;
const MS_REMOUNT = 32;
const MS_BIND = 4096;

function mountOne(platform: Platform, bundle: string, root: string, mount: RootfsMount): void {
  const { fds, mounts } = platform;
  /** Looked up anew for each step, so that it is what the last step has put there. No link of the image leads out of the root. */
  const at = (use: (target: string) => void): void => {
    if (!mount.target) {
      use(root);
      return;
    }
    const fd = mounts.openInRoot(root, mount.target);
    try {
      use(`/proc/self/fd/${fd}`);
    } finally {
      fds.close(fd);
    }
  };
  let userns: number | undefined;
  try {
    userns = openMapping(platform, mount.options);
    if (userns === undefined) {
      attach(platform, mount, mount.options, at);
    } else if (mount.type === "overlay") {
      // An overlay as a whole cannot be mapped: its lower directories are.
      try {
        attach(platform, mount, mapLowerdirs(platform, bundle, mount.options, userns), at);
      } finally {
        // The overlay holds them itself by now.
        unmountLowerdirs(platform, bundle);
      }
    } else {
      attach(platform, mount, mount.options, at);
      const namespace = userns;
      at((target) => mounts.attachIdMapped(target, target, namespace));
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`failed to mount rootfs component ${mount.type} ${mount.source}: ${reason}`, {
      cause: error,
    });
  } finally {
    if (userns !== undefined) fds.close(userns);
  }
}

function attach(
  platform: Platform,
  mount: RootfsMount,
  options: readonly string[],
  at: (use: (target: string) => void) => void,
): void {
  const { mounts, fds } = platform;
  const { flags, propagation, data, loop, directory } = parseMountOptions(mount.type, options);
  const device = loop ? mounts.attachLoop(mount.source, (flags & MS_RDONLY) !== 0) : undefined;
  try {
    const source = device?.path ?? mount.source;
    if ((flags & MS_REMOUNT) === 0 || data !== "") {
      at((target) => mounts.mount(source, target, mount.type, flags, data, directory));
    }
    if (propagation !== 0) at((target) => mounts.mount("", target, "", propagation, ""));
    // The kernel ignores "ro" when it binds: it takes a second step.
    if ((flags & (MS_BIND | MS_RDONLY)) === (MS_BIND | MS_RDONLY)) {
      at((target) => mounts.mount("", target, "", flags | MS_REMOUNT, ""));
    }
  } finally {
    if (device !== undefined) fds.close(device.fd);
  }
}
