// Builds the programs into dist/ (npm run build). `--sanitize` builds the shim with ASan, UBSan and forced collection into dist/sanitize/.
// Compiled C is kept in build/, named by the hash of all that went into it.
import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { quickjsSource } from "./quickjs.ts";
import { sourcePlaces } from "./source-places.ts";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const native = join(root, "native");
const cache = join(root, "build");
const execute = promisify(execFile);

export interface BuildOptions {
  /** ASan, UBSan, leak checks and forced garbage collection. */
  readonly sanitize?: boolean;
}

/** One way to compile C: flags for the engine's files and ours, and for the link. */
interface Variant {
  readonly name: string;
  readonly compile: readonly string[];
  readonly link: readonly string[];
}

const engineFlags = [
  "-std=gnu11",
  "-D_GNU_SOURCE",
  "-funsigned-char",
  "-fwrapv",
  "-w",
  '-DCONFIG_VERSION="2025-04-26"',
];
const hostFlags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wstrict-prototypes"];

const release: Variant = {
  name: "release",
  compile: [
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-fomit-frame-pointer",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    "-fPIE",
  ],
  link: ["-static-pie", "-Wl,--gc-sections", "-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,--build-id=none"],
};

const sanitized: Variant = {
  name: "sanitize",
  compile: [
    "-O1",
    "-g1",
    "-DHOST_SANITIZE",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fsanitize-address-use-after-scope",
  ],
  // Linked in, so that both write their reports where main.c says.
  link: [
    "-fsanitize=address,undefined",
    "-static-libasan",
    "-static-libubsan",
    "-Wl,-z,relro,-z,now,-z,noexecstack",
  ],
};

/** The bytecode compiler runs on the build machine only. */
const tool: Variant = { name: "tool", compile: ["-O1"], link: [] };

/** Bundles `entry`, compiles it and links it with the host into the executable `output`. */
export async function buildProgram(entry: string, output: string, options: BuildOptions = {}): Promise<void> {
  const variant = options.sanitize === true ? sanitized : release;
  const work = join(cache, "programs", hashOf([resolve(output), variant.name]).slice(0, 16));
  mkdirSync(work, { recursive: true });
  const engine = quickjsSource(cache);
  const [objects] = await Promise.all([hostObjects(engine, variant), compileProgram(engine, entry, work)]);
  const bytecode = join(work, "bytecode.o");
  await gcc([
    "-c",
    "-o",
    bytecode,
    `-DPROGRAM_BYTECODE="${join(work, "program.bin")}"`,
    join(native, "bytecode.S"),
  ]);
  const whole = join(work, "program");
  await gcc([...variant.link, "-o", whole, ...objects, bytecode, "-lm"]);
  mkdirSync(dirname(output), { recursive: true });
  const fresh = `${output}.new`;
  // The one with symbols stays in build/, for a debugger.
  if (options.sanitize === true) copyFileSync(whole, fresh);
  else await execute("strip", ["-o", fresh, whole]);
  renameSync(fresh, output); // a running shim keeps its own file
}

/** `entry` and all it imports as bytecode, in `work`/program.bin. */
async function compileProgram(engine: string, entry: string, work: string): Promise<void> {
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    outfile: join(work, "program.js"),
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2023",
    external: ["holdfast:host"],
    minify: true,
    treeShaking: true,
    legalComments: "none",
    sourcemap: "external",
    logLevel: "warning",
    absWorkingDir: root,
  });
  const text = (suffix: string): string => {
    const file = result.outputFiles.find((each) => each.path.endsWith(suffix));
    if (file === undefined) throw new Error(`esbuild made no ${suffix} for ${entry}`);
    return file.text;
  };
  writeFileSync(join(work, "program.js"), text(".js"));
  writeFileSync(
    join(work, "program.map"),
    sourcePlaces(text(".js.map"), (source) => relative(root, resolve(work, source))),
  );
  const compiler = await bytecodeCompiler(engine);
  await execute(compiler, [join(work, "program.js"), join(work, "program.map"), join(work, "program.bin")]);
}

async function bytecodeCompiler(engine: string): Promise<string> {
  const objects = await Promise.all([
    ...engineFiles.filter((name) => name !== "quickjs.c").map((name) => compileEngine(engine, name, tool)),
    compileObject(engine, join(native, "compile.c"), [...engineFlags, ...tool.compile], ["quickjs.c"]),
  ]);
  const output = join(cache, "objects", `compile-${hashOf(objects)}`);
  if (!existsSync(output)) {
    await gcc(["-o", `${output}.new`, ...objects, "-lm"]);
    renameSync(`${output}.new`, output);
  }
  return output;
}

const engineFiles = ["quickjs.c", "libregexp.c", "libunicode.c", "cutils.c", "dtoa.c"];

/** The host and the engine, compiled; the engine's files come first because they take longest. */
async function hostObjects(engine: string, variant: Variant): Promise<string[]> {
  const ours = readdirSync(native).filter((name) => name.endsWith(".c") && name !== "compile.c");
  return Promise.all([
    ...engineFiles.map((name) => compileEngine(engine, name, variant)),
    ...ours.map((name) => compileObject(engine, join(native, name), [...hostFlags, ...variant.compile], [])),
  ]);
}

function compileEngine(engine: string, name: string, variant: Variant): Promise<string> {
  return compileObject(engine, join(engine, name), [...engineFlags, ...variant.compile], []);
}

/** Compiles one file unless build/ has it. `includes` are further engine files that it includes. */
async function compileObject(
  engine: string,
  source: string,
  flags: readonly string[],
  includes: readonly string[],
): Promise<string> {
  // The engine's headers are the system's in the eyes of the compiler: their warnings are not ours.
  const args = [...flags, "-isystem", engine, "-c"];
  const headers = [engine, native].flatMap((directory) =>
    readdirSync(directory)
      .filter((file) => file.endsWith(".h"))
      .map((file) => join(directory, file)),
  );
  const inputs = [source, ...includes.map((file) => join(engine, file)), ...headers];
  const hash = hashOf([compilerVersion(), ...args, ...inputs.map((file) => readFileSync(file))]);
  const object = join(cache, "objects", `${basename(source, ".c")}-${hash}.o`);
  if (existsSync(object)) return object;
  mkdirSync(dirname(object), { recursive: true });
  await slot(async () => {
    await gcc([...args, "-o", `${object}.new`, source]);
    renameSync(`${object}.new`, object);
  });
  return object;
}

async function gcc(args: readonly string[]): Promise<void> {
  try {
    await execute("gcc", args);
  } catch (error) {
    throw new Error(`gcc failed:\n${(error as { stderr?: string }).stderr ?? error}`);
  }
}

let knownVersion = "";
function compilerVersion(): string {
  knownVersion ||= execFileSync("gcc", ["-dumpfullversion", "-dumpmachine"], { encoding: "utf8" });
  return knownVersion;
}

function hashOf(parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update("\0");
  return hash.digest("hex").slice(0, 32);
}

/** Two compilers at once: what the smallest machine has cores for. */
let free = 2;
const waiting: (() => void)[] = [];
async function slot(work: () => Promise<void>): Promise<void> {
  if (free > 0) free--;
  else await new Promise<void>((resolve) => waiting.push(resolve));
  try {
    await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) free++;
    else next();
  }
}

async function main(args: readonly string[]): Promise<void> {
  const sanitize = args.includes("--sanitize");
  if (args.includes("--clean")) rmSync(join(cache, "objects"), { recursive: true, force: true });
  const shim = join(root, "dist", sanitize ? "sanitize" : "", "containerd-shim-holdfast-v2");
  await buildProgram(join(root, "cmd/shim/main.ts"), shim, { sanitize });
  // The programs for Node (cmd/daemon, cmd/holdfast) are bundled here once they exist.
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await main(process.argv.slice(2));
}
