// Builds the program of the native tests in both ways and runs cases of it. Called by every test in this directory.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe } from "node:test";
import { fileURLToPath } from "node:url";
import { buildProgram } from "../../scripts/build.ts";

const here = dirname(fileURLToPath(import.meta.url));
const output = join(here, "../../build/test");

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What the case reported, one value a line. */
  readonly reports: unknown[];
  readonly stderr: string;
}

export interface Output extends Omit<Outcome, "reports"> {
  readonly stdout: string;
}

export interface RunOptions {
  readonly env?: Record<string, string>;
  /** A command that runs the program, such as unshare. */
  readonly wrapper?: readonly string[];
}

export interface HostProgram {
  readonly build: "release" | "sanitize";
  readonly path: string;
  run(name: string, args?: readonly string[], options?: RunOptions): Promise<Outcome>;
  /** The same, with stdout as it is. */
  output(name: string, args?: readonly string[], options?: RunOptions): Promise<Output>;
  /** Runs a case that must end well, and returns what it reported. */
  reports(name: string, args?: readonly string[], options?: RunOptions): Promise<unknown[]>;
}

/** Declares the same tests for the release and the sanitizer build. */
export async function forEachBuild(name: string, declare: (program: HostProgram) => void): Promise<void> {
  for (const build of ["release", "sanitize"] as const) {
    const path = join(output, `${name.replaceAll(" ", "-")}-${build}`);
    await buildProgram(join(here, "programs/main.ts"), path, { sanitize: build === "sanitize" });
    describe(`${name}, ${build}`, { concurrency: 2 }, () => {
      declare({
        build,
        path,
        run: async (each, args, options) => withReports(await run(path, each, args, options)),
        output: (each, args, options) => run(path, each, args, options),
        async reports(each, args, options) {
          const { status, signal, reports, stderr } = withReports(await run(path, each, args, options));
          assert.deepEqual({ status, signal, stderr }, { status: 0, signal: null, stderr: "" });
          return reports;
        },
      });
    });
  }
}

async function run(
  path: string,
  name: string,
  args: readonly string[] = [],
  { env = {}, wrapper = [] }: RunOptions = {},
): Promise<Output> {
  const logs = mkdtempSync(join(tmpdir(), "holdfast-native-"));
  const options = `log_path=${join(logs, "sanitizer")}`;
  const [command = path, ...rest] = [...wrapper, path, name, ...args];
  const child = spawn(command, rest, {
    env: { ...process.env, ASAN_OPTIONS: options, UBSAN_OPTIONS: options, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr, end] = await Promise.all([
    collect(child.stdout),
    collect(child.stderr),
    exitOf(child),
  ]);
  const found = readdirSync(logs).map((file) => readFileSync(join(logs, file), "utf8"));
  rmSync(logs, { recursive: true });
  assert.deepEqual(found, [], `the sanitizers reported in ${name}`);
  return { ...end, stdout, stderr };
}

function withReports({ stdout, ...rest }: Output): Outcome {
  const lines = stdout.split("\n").filter((line) => line !== "");
  return { ...rest, reports: lines.map((line) => JSON.parse(line) as unknown) };
}

async function collect(stream: NodeJS.ReadableStream): Promise<string> {
  stream.setEncoding("utf8");
  let text = "";
  for await (const chunk of stream) text += chunk;
  return text;
}

function exitOf(child: ChildProcess): Promise<{ status: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (status, signal) => resolve({ status, signal }));
  });
}

/** A fresh directory, removed after the tests of this file. */
export function freshDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-native-"));
  after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The compiled test/native/helper.c. */
export function helperProgram(): string {
  const path = join(output, "helper");
  mkdirSync(output, { recursive: true });
  const fresh = `${path}.${process.pid}`;
  execFileSync("gcc", ["-Wall", "-Wextra", "-Werror", "-O1", "-o", fresh, join(here, "helper.c")]);
  renameSync(fresh, path);
  return path;
}

/** The line of a case file that ends with `// mark: NAME`. */
export function markedLine(file: string, name: string): number {
  const lines = readFileSync(join(here, "programs", file), "utf8").split("\n");
  const index = lines.findIndex((line) => line.endsWith(`// mark: ${name}`));
  assert.notEqual(index, -1, `no mark ${name} in ${file}`);
  return index + 1;
}

/** Whether this process may mount. */
export function mayMount(): boolean {
  return process.getuid?.() === 0 && existsSync("/dev/loop-control");
}
