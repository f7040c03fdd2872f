// Builds the programs into dist/ (npm run build). `--sanitize` builds the shim with ASan, UBSan and forced collection into dist/sanitize/;
// `--arch arm64` builds the shim for that processor into dist/arm64/; `--only=shim`, also several, builds these alone.
import { copyFileSync, mkdirSync, renameSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compileBytecode } from "./bytecode.ts";
import { cached, hashOf, native, prune, root, run } from "./cache.ts";
import {
  ARCHITECTURES,
  type Architecture,
  forSpeed,
  type HostKind,
  hostObjects,
  layerProgram,
  quickjs,
  releaseFor,
  sanitized,
  tool,
  type Variant,
} from "./compile-c.ts";
import { buildNodePrograms } from "./node-programs.ts";

export interface BuildOptions {
  /** ASan, UBSan, leak checks and forced garbage collection. */
  readonly sanitize?: boolean;
  /** The build machine's own, if left out. */
  readonly architecture?: Architecture | undefined;
  /** The shim's, if left out. */
  readonly host?: HostKind;
}

/**
 * Bundles the TypeScript file `entry`, compiles it and links it with the host into the executable `output`.
 * Several processes may build at once. What was built before is taken from build/.
 */
export async function buildProgram(entry: string, output: string, options: BuildOptions = {}): Promise<void> {
  const variant = variantOf(options);
  const engine = quickjs();
  const [objects, bytecode] = await Promise.all([
    hostObjects(engine, variant, options.host),
    compileBytecode(engine, resolve(entry), options.host),
  ]);
  const source = join(native, "program.S");
  const gcc = tool(variant, "gcc");
  const parts = [gcc, ...variant.link, ...objects, bytecode, source];
  // The one with symbols stays in build/, for a debugger.
  const whole = await cached("linked", hashOf(parts), "", (path) =>
    run(gcc, [...variant.link, "-o", path, ...objects, `-DPROGRAM_IMAGE="${bytecode}"`, source, "-lm"]),
  );
  await install(whole, output, options.sanitize === true ? undefined : tool(variant, "strip"));
}

function variantOf({ sanitize, architecture, host }: BuildOptions): Variant {
  if (sanitize === true) return sanitized;
  const release = releaseFor(architecture);
  return host === "front" ? forSpeed(release) : release;
}

/** Puts a program into its place, its symbols taken out by `strip`; one that runs keeps its own file. */
async function install(program: string, output: string, strip: string | undefined): Promise<void> {
  mkdirSync(dirname(output), { recursive: true });
  const fresh = `${output}.${process.pid}`;
  if (strip === undefined) copyFileSync(program, fresh);
  else await run(strip, ["-o", fresh, program]);
  renameSync(fresh, output);
}

export type Part = "shim" | "node" | "front" | "layer";

/** How each part gets into dist/; "node" is holdfastd and holdfast-node, "front" is holdfast. */
const makers: Record<Part, () => Promise<void>> = {
  shim: () => buildShim({}),
  node: () => buildNodePrograms(join(root, "dist")),
  front: () =>
    buildProgram(join(root, "cmd/holdfast/native.ts"), join(root, "dist/holdfast"), { host: "front" }),
  layer: async () => install(await layerProgram(), join(root, "dist/holdfast-layer"), "strip"),
};

function buildShim(options: BuildOptions): Promise<void> {
  const directory = join(root, "dist", options.sanitize === true ? "sanitize" : (options.architecture ?? ""));
  return buildProgram(
    join(root, "cmd/shim/main.ts"),
    join(directory, "containerd-shim-holdfast-v2"),
    options,
  );
}

/** Builds `parts` into dist/, or the shim alone into dist/sanitize/ or the directory of its processor. */
export async function buildAll(
  options: BuildOptions = {},
  parts: readonly Part[] = ["shim", "node", "front", "layer"],
): Promise<void> {
  if (options.sanitize === true || options.architecture !== undefined) await buildShim(options);
  else await Promise.all(parts.map((part) => makers[part]()));
  prune();
}

function architectureOf(name: string | undefined): Architecture | undefined {
  const found = ARCHITECTURES.find((each) => each === name);
  if (name !== undefined && found === undefined)
    throw new Error(`--arch takes one of ${ARCHITECTURES.join(", ")}`);
  return found;
}

function partOf(name: string): Part {
  if (!Object.hasOwn(makers, name)) throw new Error(`--only takes one of ${Object.keys(makers).join(", ")}`);
  return name as Part;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      sanitize: { type: "boolean", default: false },
      arch: { type: "string" },
      only: { type: "string", multiple: true },
    },
  });
  const { sanitize, arch, only } = values;
  await buildAll({ sanitize, architecture: architectureOf(arch) }, only?.map(partOf));
}
