// Compiles the native host and the engine, and the bytecode compiler, which is the engine with its parser. Called by build.ts.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { cache, cached, hashOf, native, run } from "./cache.ts";
import { quickjsSource } from "./quickjs.ts";

/** Processors that the shim is built for. */
export const ARCHITECTURES = ["amd64", "arm64"] as const;
export type Architecture = (typeof ARCHITECTURES)[number];

/** One way to compile and link C. */
export interface Variant {
  /** The compiler's prefix, such as "aarch64-linux-gnu-"; none for the build machine's own. */
  readonly cross?: string;
  /** Another compiler than gcc. */
  readonly compiler?: string;
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
export const hostFlags: readonly string[] = [
  "-std=c11",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-Wshadow",
  "-Wstrict-prototypes",
];

/** Jumps and returns go where they were meant to: Intel's CET, Arm's BTI and PAC. */
const CONTROL_FLOW = { amd64: "-fcf-protection=full", arm64: "-mbranch-protection=standard" } as const;

const ownArchitecture: Architecture = process.arch === "arm64" ? "arm64" : "amd64";

function hardened(architecture: Architecture): string[] {
  return [
    "-fstack-protector-strong",
    // A large frame touches each page of itself, so that none jumps over the guard page.
    "-fstack-clash-protection",
    CONTROL_FLOW[architecture],
    "-D_FORTIFY_SOURCE=2",
    "-fPIE",
  ];
}

/** No -flto: it saves one page of the binary and costs seconds at every link. */
export const release: Variant = {
  compile: [
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-asynchronous-unwind-tables",
    "-fomit-frame-pointer",
    ...hardened(ownArchitecture),
  ],
  link: ["-static-pie", "-Wl,--gc-sections", "-Wl,-z,relro,-z,now,-z,noexecstack", "-Wl,--build-id=none"],
};

/** As fast as it can be, not as small: for what is started again and again, and lives in memory once. */
export function forSpeed(variant: Variant): Variant {
  return { ...variant, compile: variant.compile.map((flag) => (flag === "-Os" ? "-O2" : flag)) };
}

/** The release for a processor: by Debian's cross compiler if it is another than the build machine's. */
export function releaseFor(architecture: Architecture | undefined): Variant {
  if (architecture === undefined || architecture === ownArchitecture) return release;
  const compile = [
    ...release.compile.filter((flag) => !hardened(ownArchitecture).includes(flag)),
    ...hardened(architecture),
  ];
  return {
    ...release,
    compile,
    cross: architecture === "arm64" ? "aarch64-linux-gnu-" : "x86_64-linux-gnu-",
  };
}

/** A program of the compiler's. */
export function tool(variant: Variant, name: "gcc" | "strip"): string {
  return (name === "gcc" ? variant.compiler : undefined) ?? `${variant.cross ?? ""}${name}`;
}

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
export const unpackLibraries: readonly string[] = [
  "-larchive",
  "-lz",
  "-lzstd",
  "-lbz2",
  "-llzma",
  "-lnettle",
  "-lacl",
];

/** The bytecode compiler runs on the build machine only. */
const compiler: Variant = { compile: ["-O1"], link: [] };

export const engineFiles: readonly string[] = [
  "quickjs.c",
  "libregexp.c",
  "libunicode.c",
  "cutils.c",
  "dtoa.c",
];

/** The one of them that is not compiled alone: the other includes it. */
const ENGINE_CORE = "quickjs.c";
const ENGINE_READER = "image.c";

/** The directory of the engine's source. */
export function quickjs(): string {
  return quickjsSource(cache);
}

/** Which host: the shim's, or that of `holdfast`, which has a main() of its own and more beside it. */
export type HostKind = "shim" | "front";

function hostSources(kind: HostKind): string[] {
  const sources = (directory: string): string[] =>
    readdirSync(directory)
      .filter((name) => name.endsWith(".c") && name !== ENGINE_READER)
      .map((name) => join(directory, name));
  if (kind === "shim") return sources(native);
  return [
    ...sources(native).filter((path) => basename(path) !== "main.c"),
    ...sources(join(native, "front")),
  ];
}

/** Object files of a host and the engine. The engine's come first because they take longest. */
export function hostObjects(engine: string, variant: Variant, kind: HostKind = "shim"): Promise<string[]> {
  return Promise.all([
    compileObject(engine, variant, join(native, ENGINE_READER), engineFlags, [join(engine, ENGINE_CORE)]),
    ...engineFiles.filter((name) => name !== ENGINE_CORE).map((name) => compileEngine(engine, name, variant)),
    ...hostSources(kind).map((path) => compileObject(engine, variant, path, hostFlags)),
  ]);
}

/** Object files of the program that unpacks layers. */
export function layerObjects(): Promise<string[]> {
  const directory = join(native, "layer");
  const sources = readdirSync(directory).filter((name) => name.endsWith(".c"));
  return Promise.all(
    sources.map((name) => compileObject(directory, release, join(directory, name), hostFlags)),
  );
}

/** The program made from native/layer, not stripped. */
export async function layerProgram(): Promise<string> {
  const objects = await layerObjects();
  return cached("linked", `layer-${hashOf([...objects, ...unpackLibraries])}`, "", (path) =>
    run("gcc", [...release.link, "-o", path, ...objects, ...unpackLibraries]),
  );
}

/** The program made from scripts/bytecode.c. */
export async function bytecodeCompiler(engine: string): Promise<string> {
  const source = join(import.meta.dirname, "bytecode.c");
  const included = [
    join(native, ENGINE_READER),
    ...["heap.c", "pool.c"].map((name) => join(native, name)),
    join(import.meta.dirname, "image-writer.c"),
  ];
  const objects = await Promise.all([
    compileObject(engine, compiler, source, engineFlags, [join(engine, ENGINE_CORE), ...included]),
    ...engineFiles
      .filter((name) => name !== ENGINE_CORE)
      .map((name) => compileEngine(engine, name, compiler)),
  ]);
  return cached("objects", `compile-${hashOf(objects)}`, "", (path) =>
    run("gcc", ["-o", path, ...objects, "-lm"]),
  );
}

export function compileEngine(engine: string, name: string, variant: Variant): Promise<string> {
  return compileObject(engine, variant, join(engine, name), engineFlags);
}

/** Compiles one file, which may include further `sources` beside the headers. */
export function compileObject(
  engine: string,
  variant: Variant,
  source: string,
  flags: readonly string[],
  sources: readonly string[] = [],
): Promise<string> {
  // The engine's headers are the system's in the eyes of the compiler: their warnings are not ours.
  const gcc = tool(variant, "gcc");
  const args = [...flags, ...variant.compile, "-isystem", engine, "-c"];
  const headers = [...headersIn(engine), ...headersIn(native), ...headersIn(join(native, "front"))];
  const inputs = [source, ...sources, ...headers];
  const hash = hashOf([gcc, compilerVersion(gcc), ...args, ...inputs.map((file) => readFileSync(file))]);
  return cached("objects", `${basename(source, ".c")}-${hash}`, ".o", (path) =>
    run(gcc, [...args, "-o", path, source]),
  );
}

function headersIn(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".h"))
    .map((name) => join(directory, name));
}

const knownVersions = new Map<string, string>();
/** Throws and names the package if the compiler is not there. */
function compilerVersion(gcc: string): string {
  const known = knownVersions.get(gcc);
  if (known !== undefined) return known;
  let version: string;
  try {
    version = execFileSync(gcc, ["-dumpfullversion", "-dumpmachine"], { encoding: "utf8" });
  } catch (error) {
    const packages = "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross";
    throw new Error(`${gcc} is not there: for arm64 install ${packages}`, { cause: error });
  }
  knownVersions.set(gcc, version);
  return version;
}
