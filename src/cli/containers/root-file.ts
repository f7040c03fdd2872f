// Small files of a container's root file system, read without trust: its links lead nowhere but into it, and nothing that blocks or never ends is read.
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  realpathSync,
  type Stats,
} from "node:fs";
import { dirname, join, normalize } from "node:path";

/** No passwd is larger. */
const MAX_SIZE = 1024 * 1024;
const MAX_LINKS = 40;

/** A directory on the host, or the root that a process has. */
export interface Root {
  readonly directory: string;
  /** What is not there is looked for in these, one after the other: the lower directories of an overlay. */
  readonly below?: readonly string[];
  /** Whose mounts these are; undefined for a directory. */
  readonly pid: number | undefined;
}

/** The content of `path` below a root; undefined if there is no regular file of at most 1 MiB. */
export function readRootFile({ directory, below = [], pid }: Root, path: string): string | undefined {
  for (const layer of [directory, ...below]) {
    const there = lstatSync(join(layer, path), { throwIfNoEntry: false });
    if (there === undefined && below.length > 0) continue;
    return readLayerFile({ directory: layer, pid }, path);
  }
  return undefined;
}

/** Whether a program that opens `path` in that root might hang, or read for ever: what is there is no regular file, or a very large one. */
export function isTrap({ directory, below = [] }: Root, path: string): boolean {
  const layer = [directory, ...below].find(
    (each) => lstatSync(join(each, path), { throwIfNoEntry: false }) !== undefined,
  );
  const found = layer === undefined ? undefined : resolveAny(layer, path);
  if (found === undefined) return false;
  const stat = lstatSync(found, { throwIfNoEntry: false });
  if (stat === undefined || isWhiteout(stat)) return false;
  return !stat.isFile() || stat.size > MAX_SIZE;
}

/** By which an overlay says that there is nothing. */
function isWhiteout(stat: Stats): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0;
}

function readLayerFile(root: Root, path: string): string | undefined {
  const found = resolveIn(root.directory, path);
  if (found === undefined) return undefined;
  let fd: number | undefined;
  try {
    fd = openSync(
      found,
      constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY,
    );
    const stat = fstatSync(fd);
    // What has been put there since it was looked at may lead elsewhere.
    if (!stat.isFile() || stat.size > MAX_SIZE || !isInside(root, fd)) return undefined;
    const content = Buffer.alloc(stat.size);
    return content.toString("utf8", 0, readSync(fd, content, 0, stat.size, 0));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

/** The path on the host of a regular file, each link followed as a process with that root would. */
function resolveIn(root: string, path: string): string | undefined {
  const found = resolveAny(root, path);
  return found !== undefined && lstatSync(found).isFile() ? found : undefined;
}

/** The same of whatever is there. */
function resolveAny(root: string, path: string): string | undefined {
  let left = path.split("/");
  let at = "/";
  for (let links = 0; left.length > 0; ) {
    const [name = "", ...rest] = left;
    left = rest;
    if (name === "" || name === ".") continue;
    const next = name === ".." ? dirname(at) : join(at, name);
    const stat = lstatSync(join(root, next), { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    if (!stat.isSymbolicLink()) {
      if (left.length > 0 && !stat.isDirectory()) return undefined;
      at = next;
      continue;
    }
    if (++links > MAX_LINKS) return undefined;
    const target = readlinkSync(join(root, next));
    if (target.startsWith("/")) at = "/";
    left = [...target.split("/"), ...left];
  }
  return join(root, normalize(at));
}

function isInside({ directory, pid }: Root, fd: number): boolean {
  if (pid === undefined) {
    const inside = realpathSync(directory);
    return inside === "/" || readlinkSync(`/proc/self/fd/${fd}`).startsWith(`${inside}/`);
  }
  const mount = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1];
  const mounts = readFileSync(`/proc/${pid}/mountinfo`, "utf8").split("\n");
  return mounts.some((line) => line.split(" ", 1)[0] === mount);
}
