// One run of holdfast-layer, and the directories on which it mounts.
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { Code, TtrpcError } from "../ttrpc/status.ts";

/** An error's text is a line or two. */
const MAX_ERROR_BYTES = 4096;

/** Beside our own program, wherever a link to that may be. */
export function layerProgramPath(): string {
  return join(dirname(realpathSync(process.argv[1] ?? ".")), "holdfast-layer");
}

/** Gives `act` empty directories below `scratch`, which is made if need be. What is mounted there is the program's alone, so they are empty again afterwards. */
export async function withMountPoints<T>(
  scratch: string,
  count: number,
  act: (...directories: string[]) => Promise<T>,
): Promise<T> {
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const directories: string[] = [];
  try {
    for (let made = 0; made < count; made++) directories.push(mkdtempSync(join(scratch, "layer-")));
    return await act(...directories);
  } finally {
    for (const directory of directories) rmdirSync(directory);
  }
}

export interface LayerProcess {
  readonly program: string;
  readonly args: readonly string[];
  /** A descriptor, a stream, or nothing. */
  readonly input?: number | Readable;
  /** Gets what it writes, piece by piece; the process ends if it rejects. Without it all of that is returned. */
  readonly output?: (bytes: Uint8Array) => Promise<void>;
}

/** Runs it to its end. Resolves to its report (descriptor 3), or to its output if nobody takes that. Rejects with what it says went wrong. */
export async function runLayer({ program, args, input, output }: LayerProcess): Promise<string> {
  const stdin = typeof input === "number" ? input : input === undefined ? "ignore" : "pipe";
  const child = spawn(program, args, { stdio: [stdin, "pipe", "pipe", "pipe"], env: {}, cwd: "/" });
  const ended = endOf(child, program);
  // Whoever waits for it does so below; it may reject before.
  ended.catch(() => {});
  const kept: Buffer[] = [];
  (child.stdio[3] as Readable).on("data", (chunk: Buffer) => kept.push(chunk));
  try {
    const fed = typeof input === "object" ? feed(child, input) : Promise.resolve();
    const taken = take(child, output ?? (async (bytes) => void kept.push(Buffer.from(bytes))));
    await Promise.all([fed, taken]);
  } catch (error) {
    child.kill("SIGKILL");
    await ended.catch(() => {});
    throw error;
  }
  await ended;
  return Buffer.concat(kept).toString();
}

async function take(child: ChildProcess, output: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  for await (const chunk of child.stdout as Readable) await output(chunk as Buffer);
}

/** A program that has ended by itself reads no more: what it says then is the reason. */
async function feed({ stdin }: ChildProcess, input: Readable): Promise<void> {
  if (stdin === null) return;
  let gone = false;
  const closed = new Promise<void>((resolve) => stdin.once("close", () => resolve()));
  stdin.on("error", () => {
    gone = true;
  });
  for await (const chunk of input) {
    if (gone) return;
    if (!stdin.write(chunk))
      await Promise.race([closed, new Promise((resolve) => stdin.once("drain", resolve))]);
  }
  stdin.end();
}

function endOf(child: ChildProcess, program: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let errors = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      if (errors.length < MAX_ERROR_BYTES) errors += chunk.toString();
    });
    child.once("error", (error) => reject(new Error(`cannot run ${program}: ${error.message}`)));
    child.once("close", (status, signal) => {
      const failure = errors.trim() || `holdfast-layer ended with ${signal ?? status}`;
      if (status === 0) resolve();
      else reject(new TtrpcError(Code.UNKNOWN, failure));
    });
  });
}
