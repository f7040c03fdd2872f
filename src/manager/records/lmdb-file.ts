// Opening LMDB files, carefully: one that waits for the disk at each commit, and one that does not.
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { open, type RootDatabase } from "lmdb";

export type LmdbKey = [namespace: string, id: string];

const DATABASES = 16;
/** LMDB's first pages say what it is. */
const META_MAGIC = 0xbeefc0de;
const META_MAGIC_OFFSET = 24;
const META_PAGES = 2;
const PAGE_BYTES = 4096;
const BOOT_ID = "/proc/sys/kernel/random/boot_id";

/** Opens or makes a file. Throws, naming it, if it is of another kind. */
export function openLmdb(path: string, options: { noSync?: boolean } = {}): RootDatabase<Buffer, LmdbKey> {
  try {
    demandLmdb(path);
    return open<Buffer, LmdbKey>({ path, encoding: "binary", maxDbs: DATABASES, ...options });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`cannot open the store ${path}: ${reason}; move it away to begin with an empty one`, {
      cause: error,
    });
  }
}

/** LMDB's binding crashes on a file of another kind. A file that is missing or empty becomes a store. */
function demandLmdb(path: string): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) return;
  const header = Buffer.alloc(META_MAGIC_OFFSET + 4);
  const file = openSync(path, "r");
  try {
    readSync(file, header);
  } finally {
    closeSync(file);
  }
  if (header.readUInt32LE(META_MAGIC_OFFSET) !== META_MAGIC) throw new Error("it is no LMDB file");
  if (size < META_PAGES * PAGE_BYTES) throw new Error(`it is cut off after ${size} bytes`);
}

/**
 * A file that no commit waits for: it survives the end of any process, but not of the machine. A file beside it says in which boot it was left
 * open; if that was an earlier one, its pages may not fit together, and it is set aside.
 */
export class UnsyncedFile {
  readonly root: RootDatabase<Buffer, LmdbKey>;
  /** Why what was in there is not there any more; undefined if it is. */
  readonly lost: string | undefined;
  readonly #path: string;
  readonly #marker: string;

  constructor(path: string) {
    this.#path = path;
    this.#marker = `${path}-boot`;
    const boot = readFileSync(BOOT_ID, "utf8");
    const left = statSync(this.#marker, { throwIfNoEntry: false }) && readFileSync(this.#marker, "utf8");
    if (left !== undefined && left !== boot && statSync(path, { throwIfNoEntry: false }) !== undefined) {
      const aside = `${path}.unclean`;
      renameSync(path, aside);
      this.lost = `the machine went down while it was written: ${aside}`;
    }
    writeFileSync(this.#marker, boot);
    this.root = openLmdb(path, { noSync: true });
  }

  async close(): Promise<void> {
    await this.root.close();
    const file = openSync(this.#path, "r");
    fsyncSync(file);
    closeSync(file);
    rmSync(this.#marker, { force: true });
  }
}
