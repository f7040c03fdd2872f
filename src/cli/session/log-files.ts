// Where the output of containers goes that nobody is in front of: a file each, made by the shim, read by `logs` and `attach`.
import { createReadStream, rmSync, statSync, watch } from "node:fs";
import { open } from "node:fs/promises";
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

/** Copies a file from `offset` to stdout; resolves to where it ended. */
export async function copyFrom(path: string, offset: number): Promise<number> {
  let position = offset;
  for await (const chunk of createReadStream(path, { start: offset })) {
    position += (chunk as Buffer).length;
    if (!process.stdout.write(chunk as Buffer)) {
      await new Promise((resolve) => process.stdout.once("drain", resolve));
    }
  }
  return position;
}

/** Copies what comes to a file from `offset` on, until `ended` resolves and all is out. */
export async function follow(path: string, offset: number, ended: Promise<unknown>): Promise<void> {
  let position = offset;
  let over = false;
  let wake: () => void = () => {};
  const changed = (): void => wake();
  const watcher = watch(dirname(path), changed);
  void ended.then(
    () => {
      over = true;
      wake();
    },
    () => {
      over = true;
      wake();
    },
  );
  try {
    for (;;) {
      const last = over;
      const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
      if (size > position) position = await copyFrom(path, position);
      else if (last) return;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
          if (over || (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > position) resolve();
        });
      }
    }
  } finally {
    watcher.close();
  }
}
