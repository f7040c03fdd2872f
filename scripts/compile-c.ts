// Compiles the native host and the engine, and the bytecode compiler, which is the engine with its parser. Called by build.ts.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { cache, cached, hashOf, native, run } from "./cache.ts";
import { quickjsSource } from "./quickjs.ts";

/** One way to compile and link C. */
export interface Variant {
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

/** No -flto: it saves one page of the binary and costs seconds at every link. */
export const release: Variant = {
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

export const sanitized: Variant = {
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

/** The unpacker's libraries, all of them static: Debian's libarchive and what it needs to read layers. */
const unpackLibraries = ["-larchive", "-lz", "-lzstd", "-lbz2", "-llzma", "-lnettle", "-lacl"];

/** The bytecode compiler runs on the build machine only. */
const tool: Variant = { compile: ["-O1"], link: [] };

const engineFiles = ["quickjs.c", "libregexp.c", "libunicode.c", "cutils.c", "dtoa.c"];

/** The directory of the engine's source. */
export function quickjs(): string {
  return quickjsSource(cache);
}

/** Object files of the host and the engine. The engine's come first because they take longest. */
export function hostObjects(engine: string, variant: Variant): Promise<string[]> {
  const ours = readdirSync(native).filter((name) => name.endsWith(".c"));
  return Promise.all([
    ...engineFiles.map((name) => compileEngine(engine, name, variant)),
    ...ours.map((name) => compileObject(engine, join(native, name), [...hostFlags, ...variant.compile])),
  ]);
}

/** The program made from native/layer, not stripped. */
export async function layerProgram(): Promise<string> {
  const directory = join(native, "layer");
  const sources = readdirSync(directory).filter((name) => name.endsWith(".c"));
  const objects = await Promise.all(
    sources.map((name) =>
      compileObject(directory, join(directory, name), [...hostFlags, ...release.compile]),
    ),
  );
  return cached("linked", `layer-${hashOf([...objects, ...unpackLibraries])}`, "", (path) =>
    run("gcc", [...release.link, "-o", path, ...objects, ...unpackLibraries]),
  );
}

/** The program made from scripts/bytecode.c. */
export async function bytecodeCompiler(engine: string): Promise<string> {
  const source = join(import.meta.dirname, "bytecode.c");
  const included = "quickjs.c";
  const objects = await Promise.all([
    compileObject(engine, source, [...engineFlags, ...tool.compile], [join(engine, included)]),
    ...engineFiles.filter((name) => name !== included).map((name) => compileEngine(engine, name, tool)),
  ]);
  return cached("objects", `compile-${hashOf(objects)}`, "", (path) =>
    run("gcc", ["-o", path, ...objects, "-lm"]),
  );
}

function compileEngine(engine: string, name: string, variant: Variant): Promise<string> {
  return compileObject(engine, join(engine, name), [...engineFlags, ...variant.compile]);
}

/** Compiles one file, which may include further `sources` beside the headers. */
function compileObject(
  engine: string,
  source: string,
  flags: readonly string[],
  sources: readonly string[] = [],
): Promise<string> {
  // The engine's headers are the system's in the eyes of the compiler: their warnings are not ours.
  const args = [...flags, "-isystem", engine, "-c"];
  const inputs = [source, ...sources, ...headersIn(engine), ...headersIn(native)];
  const hash = hashOf([compilerVersion(), ...args, ...inputs.map((file) => readFileSync(file))]);
  return cached("objects", `${basename(source, ".c")}-${hash}`, ".o", (path) =>
    run("gcc", [...args, "-o", path, source]),
  );
}

function headersIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".h"))
    .map((name) => join(directory, name));
}

let knownVersion = "";
function compilerVersion(): string {
  knownVersion ||= execFileSync("gcc", ["-dumpfullversion", "-dumpmachine"], { encoding: "utf8" });
  return knownVersion;
}
