// node:fs as far as the command line uses it.
import * as host from "holdfast:host";
import { isSystemError } from "../platform/platform.ts";
import { bindToNative, goOnInNode } from "./go-on.ts";

const S_IFMT = 0o170000;
const PERMISSIONS = 0o7777;
const CHUNK = 64 * 1024;
const STDERR = 2;
const DEFAULT_MODE = 0o666;

export const constants: Readonly<Record<string, number>> = {
  O_RDONLY: host.O_RDONLY,
  O_WRONLY: host.O_WRONLY,
  O_RDWR: host.O_RDWR,
  O_CREAT: host.O_CREAT,
  O_EXCL: host.O_EXCL,
  O_TRUNC: host.O_TRUNC,
  O_APPEND: host.O_APPEND,
  O_DIRECTORY: host.O_DIRECTORY,
  O_NOFOLLOW: host.O_NOFOLLOW,
  O_NONBLOCK: host.O_NONBLOCK,
  /** Every descriptor of the host's is opened so. */
  O_NOCTTY: 0,
  S_IFMT,
};

const FLAGS: Readonly<Record<string, number>> = {
  r: host.O_RDONLY,
  "r+": host.O_RDWR,
  w: host.O_WRONLY | host.O_CREAT | host.O_TRUNC,
  wx: host.O_WRONLY | host.O_CREAT | host.O_EXCL,
  a: host.O_WRONLY | host.O_CREAT | host.O_APPEND,
};

/** Kinds of files, in the bits of S_IFMT. */
const KIND = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  link: 0o120000,
  socket: 0o140000,
} as const;

/** What Node's Stats and Dirent both tell of a file. */
abstract class Kinded {
  /** One of KIND; undefined if the file has gone. */
  protected abstract readonly kind: number | undefined;

  isFile(): boolean {
    return this.kind === KIND.file;
  }

  isDirectory(): boolean {
    return this.kind === KIND.directory;
  }

  isFIFO(): boolean {
    return this.kind === KIND.fifo;
  }

  isCharacterDevice(): boolean {
    return this.kind === KIND.character;
  }

  isBlockDevice(): boolean {
    return this.kind === KIND.block;
  }

  isSymbolicLink(): boolean {
    return this.kind === KIND.link;
  }

  isSocket(): boolean {
    return this.kind === KIND.socket;
  }
}

class Stats extends Kinded {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly dev: number;
  readonly ino: number;
  readonly rdev: number;
  readonly nlink: number;
  readonly mtimeMs: number;
  protected readonly kind: number;

  constructor({ mode, uid, gid, size, dev, ino, rdev, nlink, mtimeMs }: host.Status) {
    super();
    this.mode = mode;
    this.kind = mode & S_IFMT;
    this.uid = uid;
    this.gid = gid;
    this.size = size;
    this.dev = dev;
    this.ino = ino;
    this.rdev = rdev;
    this.nlink = nlink;
    this.mtimeMs = mtimeMs;
  }
}

interface StatOptions {
  readonly throwIfNoEntry?: boolean;
}

function isMissing(error: unknown): boolean {
  return isSystemError(error, "ENOENT") || isSystemError(error, "ENOTDIR");
}

function look(path: string, follow: boolean, { throwIfNoEntry = true }: StatOptions): Stats | undefined {
  try {
    return new Stats(host.status(path, follow));
  } catch (error) {
    if (!throwIfNoEntry && isMissing(error)) return undefined;
    throw error;
  }
}

export function statSync(path: string, options: StatOptions = {}): Stats | undefined {
  return look(path, true, options);
}

export function lstatSync(path: string, options: StatOptions = {}): Stats | undefined {
  return look(path, false, options);
}

export function fstatSync(fd: number): Stats {
  return new Stats(host.statusOf(fd));
}

export function existsSync(path: string): boolean {
  try {
    return look(path, true, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}

export function openSync(path: string, flags: string | number = "r", mode: number = DEFAULT_MODE): number {
  const bits = typeof flags === "number" ? flags : FLAGS[flags];
  if (bits === undefined) throw new TypeError(`no flags to open a file with: ${flags}`);
  return host.open(path, bits, mode);
}

export function closeSync(fd: number): void {
  host.close(fd);
}

/** From where the file is at, as nobody here asks for another place. */
export function readSync(
  fd: number,
  into: Uint8Array,
  offset = 0,
  length: number = into.length - offset,
): number {
  if (length === 0) return 0;
  const bytes = host.read(fd, length);
  if (bytes === null) throw wouldBlock("read");
  into.set(bytes, offset);
  return bytes.length;
}

export function writeSync(fd: number, bytes: Uint8Array | string, offset = 0): number {
  if (fd <= STDERR) bindToNative();
  const all = typeof bytes === "string" ? host.encodeUtf8(bytes) : bytes.subarray(offset);
  const written = host.write(fd, all);
  if (written < 0) throw wouldBlock("write");
  return written;
}

function wouldBlock(syscall: string): Error {
  return Object.assign(new Error(`${syscall}: Resource temporarily unavailable`), {
    code: "EAGAIN",
    syscall,
  });
}

function readAll(fd: number): Buffer {
  const parts: Uint8Array[] = [];
  for (;;) {
    const part = host.read(fd, CHUNK);
    if (part === null) throw wouldBlock("read");
    if (part.length === 0) return Buffer.concat(parts);
    parts.push(part);
  }
}

type Encoding = BufferEncoding | { readonly encoding?: BufferEncoding | null } | null;

function encodingOf(options: Encoding | undefined): BufferEncoding | undefined {
  return (typeof options === "string" ? options : options?.encoding) ?? undefined;
}

export function readFileSync(file: string | number, options?: Encoding): Buffer | string {
  const fd = typeof file === "number" ? file : host.open(file, host.O_RDONLY);
  try {
    const bytes = readAll(fd);
    const encoding = encodingOf(options);
    if (encoding === undefined) return bytes;
    return encoding === "utf8" ? host.decodeUtf8(bytes) : bytes.toString(encoding);
  } catch (error) {
    if (typeof file === "string" && error instanceof Error && !("path" in error))
      Object.assign(error, { path: file });
    throw error;
  } finally {
    if (typeof file === "string") host.close(fd);
  }
}

interface WriteOptions {
  readonly mode?: number;
  readonly flag?: string;
}

export function writeFileSync(
  file: string | number,
  content: Uint8Array | string,
  options: WriteOptions = {},
): void {
  const { flag = "w", mode } = options;
  const fd = typeof file === "number" ? file : openSync(file, flag, mode);
  try {
    let rest = typeof content === "string" ? host.encodeUtf8(content) : content;
    while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
  } finally {
    if (typeof file === "string") host.close(fd);
  }
}

/** As Node's Dirent, whose kind is as it was when it was read. */
class Entry extends Kinded {
  readonly name: string;
  protected readonly kind: number | undefined;

  constructor(name: string, directory: string) {
    super();
    this.name = name;
    const stats = lstatSync(`${directory}/${name}`, { throwIfNoEntry: false });
    this.kind = stats === undefined ? undefined : stats.mode & S_IFMT;
  }
}

export function readdirSync(
  path: string,
  options: { readonly withFileTypes?: boolean } = {},
): string[] | Entry[] {
  const names = host.listDirectory(path).sort();
  return options.withFileTypes === true ? names.map((name) => new Entry(name, path)) : names;
}

interface DirectoryOptions {
  readonly recursive?: boolean;
  readonly mode?: number;
}

export function mkdirSync(path: string, options: DirectoryOptions = {}): void {
  const { recursive = false, mode = 0o777 } = options;
  try {
    host.makeDirectory(path, mode & PERMISSIONS);
  } catch (error) {
    if (!recursive) throw error;
    if (isSystemError(error, "ENOENT")) {
      const parent = path.replace(/\/+[^/]*\/*$/, "");
      if (parent === "" || parent === path) throw error;
      mkdirSync(parent, options);
      mkdirSync(path, options);
    } else if (look(path, true, { throwIfNoEntry: false })?.isDirectory() !== true) throw error;
  }
}

export function mkdtempSync(prefix: string): string {
  return host.makeTemporary(`${prefix}XXXXXX`);
}

export function readlinkSync(path: string): string {
  return host.readLink(path);
}

export function realpathSync(path: string): string {
  return host.realPath(path);
}

export function rmdirSync(path: string): void {
  host.removeDirectory(path);
}

export function chmodSync(path: string, mode: number): void {
  host.changeMode(path, mode & PERMISSIONS);
}

interface RemoveOptions {
  readonly recursive?: boolean;
  readonly force?: boolean;
}

export function rmSync(path: string, options: RemoveOptions = {}): void {
  const { recursive = false, force = false } = options;
  try {
    const isDirectory = lstatSync(path)?.isDirectory() === true;
    if (isDirectory && !recursive)
      throw Object.assign(new Error(`rm ${path}: is a directory`), { code: "EISDIR", syscall: "rm", path });
    if (!isDirectory) host.unlink(path);
    else {
      for (const name of host.listDirectory(path)) rmSync(`${path}/${name}`, options);
      host.removeDirectory(path);
    }
  } catch (error) {
    // Somebody else may be at it too.
    if (!force || !isMissing(error)) throw error;
  }
}

export function watch(): never {
  return goOnInNode("to watch a file");
}
