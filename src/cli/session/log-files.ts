// Where the output of containers goes that nobody is in front of: a file each, made by the shim, read by `logs` and `attach`.
import { rmSync, statSync, watch } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname, join } from "node:path";

const DEFAULT_DIRECTORY = "/var/lib/holdfast/cli/logs";
const BLOCK = 65_536;

/** HOLDFAST_LOGS names another directory. */
export function logFile(namespace: string, id: string): string {
  return join(process.env.HOLDFAST_LOGS ?? DEFAULT_DIRECTORY, namespace, `${id}.log`);
}

/** Removes the log of a deleted container, if it is one of ours. */
export function removeLog(path: string | undefined): void {
  if (path?.endsWith(".log") === true) rmSync(path, { force: true });
}

/** The URI that the shim is given. */
export function logUri(path: string): string {
  return `file://${encodeURI(path)}`;
}

/** The path of a file:// URI; undefined for anything else. */
export function pathOfUri(uri: string): string | undefined {
  return uri.startsWith("file://") ? decodeURI(uri.slice("file://".length)) : undefined;
}

/** The offset at which the last `lines` lines of a file begin. */
export async function tailOffset(path: string, lines: number): Promise<number> {
  const file = await open(path);
  try {
    let position = (await file.stat()).size;
    // The newline at the very end is of the last line.
    let left = lines + 1;
    let first = true;
    const block = Buffer.alloc(BLOCK);
    while (position > 0) {
      const length = Math.min(BLOCK, position);
      position -= length;
      await file.read(block, 0, length, position);
      if (first && block[length - 1] !== 10) left--;
      first = false;
      for (let index = length - 1; index >= 0; index--) {
        if (block[index] === 10 && --left === 0) return position + index + 1;
      }
    }
    return 0;
  } finally {
    await file.close();
  }
}

/** Copies a file from `offset` to stdout. */
export async function copyFrom(path: string, offset: number): Promise<void> {
  const log = await FollowedLog.open(path, offset);
  try {
    await log.copy();
  } finally {
    await log.close();
  }
}

/** How much of what was copied last is kept, to see whether the file still has it. */
const MARK = 256;

/** A file that others write, cut short, or put another in the place of. */
class FollowedLog {
  readonly #path: string;
  #file: FileHandle;
  #position: number;
  #mark: Buffer = Buffer.alloc(0);

  private constructor(path: string, file: FileHandle, position: number) {
    this.#path = path;
    this.#file = file;
    this.#position = position;
  }

  static async open(path: string, position: number): Promise<FollowedLog> {
    return new FollowedLog(path, await open(path), position);
  }

  /** Copies all that there is and has not been copied; resolves to whether there was any. */
  async copy(): Promise<boolean> {
    let copied = await this.#copyFile();
    const next = await this.#replacement();
    if (next === undefined) return copied;
    // The next one is there, so this one is complete by now.
    copied = (await this.#copyFile()) || copied;
    await this.#file.close();
    this.#file = next;
    this.#position = 0;
    this.#mark = Buffer.alloc(0);
    return (await this.#copyFile()) || copied;
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  /** What was copied last is read once more with what follows it, in one read: so that no piece of a file that was written anew is taken for more of it. */
  async #copyFile(): Promise<boolean> {
    const block = Buffer.alloc(MARK + BLOCK);
    for (let copied = false; ; ) {
      const length = this.#mark.length;
      const { bytesRead } = await this.#file.read(block, 0, block.length, this.#position - length);
      if (this.#position > 0 && (await this.#isCut(block.subarray(0, Math.min(length, bytesRead))))) {
        this.#position = 0;
        this.#mark = Buffer.alloc(0);
        continue;
      }
      const chunk = Buffer.from(block.subarray(length, bytesRead));
      if (chunk.length === 0) return copied;
      copied = true;
      this.#position += chunk.length;
      this.#mark = Buffer.concat([this.#mark, chunk]).subarray(-MARK);
      if (!process.stdout.write(chunk)) await new Promise((resolve) => process.stdout.once("drain", resolve));
    }
  }

  /** Also if it has grown beyond where we were since. `found` stands where the mark was. */
  async #isCut(found: Buffer): Promise<boolean> {
    return !found.equals(this.#mark) || (await this.#file.stat()).size < this.#position;
  }

  /** Another file of that name, if there is one now. */
  async #replacement(): Promise<FileHandle | undefined> {
    const found = statSync(this.#path, { throwIfNoEntry: false });
    if (found === undefined) return undefined;
    const { ino, dev } = await this.#file.stat();
    if (found.ino === ino && found.dev === dev) return undefined;
    return open(this.#path).catch(() => undefined);
  }
}

/** Copies what comes to a file from `offset` on, until `ended` resolves and all is out. */
export async function follow(path: string, offset: number, ended: Promise<unknown>): Promise<void> {
  const log = await FollowedLog.open(path, offset);
  let over = false;
  let changes = 0;
  let wake: () => void = () => {};
  const changed = (): void => {
    changes++;
    wake();
  };
  const watcher = watch(dirname(path), changed);
  const end = (): void => {
    over = true;
    changed();
  };
  void ended.then(end, end);
  try {
    for (;;) {
      const [seen, last] = [changes, over];
      if (await log.copy()) continue;
      if (last) return;
      if (changes === seen) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    watcher.close();
    await log.close();
  }
}
