// The build's memory: files under build/, each named by the hash of all that went into it. Called by the other build scripts.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const root: string = resolve(dirname(fileURLToPath(import.meta.url)), "..");
export const native: string = join(root, "native");
export const cache: string = join(root, "build");

/** Files of each kind that prune() keeps. */
const KEPT = 200;

export function hashOf(parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 32);
}

/** What is being made, by its path: two programs may want the same file at once. */
const making = new Map<string, Promise<string>>();

/** The file build/`kind`/`name``suffix`; `make` writes it, to the path that it is given, if it is not there yet. */
export function cached(
  kind: string,
  name: string,
  suffix: string,
  make: (path: string) => Promise<void>,
): Promise<string> {
  const path = join(cache, kind, name + suffix);
  const known = making.get(path);
  if (known !== undefined) return known;
  // Under a name of our own until it is whole: another process may make the same file.
  const made = filled(path, join(cache, kind, `${name}.${process.pid}${suffix}`), make).finally(() =>
    making.delete(path),
  );
  making.set(path, made);
  return made;
}

async function filled(path: string, fresh: string, make: (path: string) => Promise<void>): Promise<string> {
  if (existsSync(path)) {
    const now = new Date();
    utimesSync(path, now, now); // for prune()
    return path;
  }
  mkdirSync(dirname(path), { recursive: true });
  await make(fresh);
  renameSync(fresh, path);
  return path;
}

/** Removes what was used longest ago. */
export function prune(): void {
  for (const kind of ["objects", "bytecode", "linked"]) {
    const directory = join(cache, kind);
    if (!existsSync(directory)) continue;
    const byUse = readdirSync(directory)
      .map((name) => join(directory, name))
      .map((path) => ({ path, used: statSync(path).mtimeMs }))
      .sort((a, b) => b.used - a.used);
    for (const { path } of byUse.slice(KEPT)) rmSync(path, { force: true });
  }
}

const execute = promisify(execFile);

/** Commands that run at once: what the smallest machine has cores for. */
let free = 2;
const waiting: (() => void)[] = [];

/** Runs a command; throws what it said on stderr if it fails. */
export async function run(command: string, args: readonly string[]): Promise<void> {
  if (free > 0) free--;
  else await new Promise<void>((resume) => waiting.push(resume));
  try {
    await execute(command, args);
  } catch (error) {
    throw new Error(`${command} failed:\n${(error as { stderr?: string }).stderr ?? error}`);
  } finally {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  }
}
