// Runs a program of ours from a file beside its launcher, with the code that V8 made of it at an earlier start: that halves the time until it does
// something. Called by the programs that scripts/node-programs.ts puts together.
//
// The cache is trusted as the program itself is: it has the same owner and directory, and V8 does not look whether it is whole. What is not, is of
// another program or another Node, or another user could have written, is as if it were not there.
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { Script } from "node:vm";
import { crc32 } from "node:zlib";

const OTHERS_MAY_WRITE = 0o022;
/** What the cache is of, then what follows: of how many starts it knows the code, in one byte of a whole word, and the code. Each as its checksum. */
const SUM = 32;
const HEAD = 2 * SUM;
const WORD = 8;
/** V8 compiles what a start needs, and verbs differ: so many starts add to the cache what they have needed. */
const LEARNING = 6;

type Program = (require: NodeJS.Require, filename: string, dirname: string) => void;

interface Cache {
  readonly cachedData: Buffer;
  /** How many starts have made it. */
  readonly starts: number;
}

/**
 * `path` is that of a CommonJS program in ASCII, `require` that of a module beside it. With `keep`, what V8 made of it is kept for the next start when this one ends, where the files are ours
 * and there was nothing to use, or not enough.
 */
export function runProgramFile(path: string, require: NodeJS.Require, keep: boolean): void {
  const cache = `${path}.cache`;
  const owner = statSync(path);
  const program = readFileSync(path);
  // A Node older than 20.15 has no such sum, and no cache.
  const made = typeof crc32 === "function" ? sumOf(program, `${process.version} ${process.arch}`) : undefined;
  const known = made && readCache(cache, made, owner);
  const text = `(function (require, __filename, __dirname) {${program.toString("latin1")}\n})`;
  const cachedData = known?.cachedData;
  const script = new Script(text, { filename: path, ...(cachedData !== undefined && { cachedData }) });
  // V8 refuses what it has not made itself, with the same flags.
  const starts = script.cachedDataRejected === false ? (known?.starts ?? 0) : 0;
  if (made !== undefined && keep && starts < LEARNING && isOurs(owner)) {
    process.on("exit", () => writeCache(cache, made, script, starts + 1));
  }
  (script.runInThisContext() as Program)(require, path, dirname(path));
}

/**
 * Tells what is cut or spoiled by accident from what is whole: who wants to deceive us cannot write here, and loading a cryptographic hash would take
 * longer than all that it is for. `of` is what the bytes belong to.
 */
function sumOf(bytes: Uint8Array, of = ""): Buffer {
  return Buffer.from(`${crc32(bytes, crc32(of))} ${bytes.length}`.padEnd(SUM), "latin1");
}

/** Whether nobody but us writes what lies there. */
function isOurs({ uid, mode }: Stats): boolean {
  return uid === process.geteuid?.() && (mode & OTHERS_MAY_WRITE) === 0;
}

/** undefined if there is none that can be trusted. */
function readCache(path: string, made: Buffer, owner: Stats): Cache | undefined {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile() || stat.uid !== owner.uid || (stat.mode & OTHERS_MAY_WRITE) !== 0) return undefined;
      const bytes = readFileSync(fd);
      const data = bytes.subarray(HEAD);
      if (!bytes.subarray(0, HEAD).equals(Buffer.concat([made, sumOf(data)]))) return undefined;
      return { starts: data[0] ?? 0, cachedData: data.subarray(WORD) };
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/** Whoever starts meanwhile finds the old one or the whole new one. Nothing is said where nothing can be written. */
function writeCache(path: string, made: Buffer, script: Script, starts: number): void {
  const fresh = `${path}.${process.pid}`;
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    const fd = openSync(fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644);
    try {
      const data = Buffer.concat([Buffer.alloc(WORD, starts), script.createCachedData()]);
      writeFileSync(fd, Buffer.concat([made, sumOf(data), data]));
      fsyncSync(fd);
      renameSync(fresh, path);
    } catch {
      unlinkSync(fresh);
    } finally {
      closeSync(fd);
    }
  } catch {
    // A directory that only others write, or that is read-only: it starts as fast as without.
  }
}
