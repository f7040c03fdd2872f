// Builds the programs into dist/ (npm run build). `--sanitize` builds the shim with ASan, UBSan and forced collection into dist/sanitize/.
import { copyFileSync, mkdirSync, renameSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { compileBytecode } from "./bytecode.ts";
import { cached, hashOf, native, prune, root, run } from "./cache.ts";
import { hostObjects, layerProgram, quickjs, release, sanitized } from "./compile-c.ts";
import { buildNodePrograms } from "./node-programs.ts";

export interface BuildOptions {
  /** ASan, UBSan, leak checks and forced garbage collection. */
  readonly sanitize?: boolean;
}

/**
 * Bundles the TypeScript file `entry`, compiles it and links it with the host into the executable `output`.
 * Several processes may build at once. What was built before is taken from build/.
 */
export async function buildProgram(entry: string, output: string, options: BuildOptions = {}): Promise<void> {
  const variant = options.sanitize === true ? sanitized : release;
  const engine = quickjs();
  const [objects, bytecode] = await Promise.all([
    hostObjects(engine, variant),
    compileBytecode(engine, resolve(entry)),
  ]);
  const source = join(native, "bytecode.S");
  const parts = [...variant.link, ...objects, bytecode, source];
  // The one with symbols stays in build/, for a debugger.
  const whole = await cached("linked", hashOf(parts), "", (path) =>
    run("gcc", [...variant.link, "-o", path, ...objects, `-DPROGRAM_BYTECODE="${bytecode}"`, source, "-lm"]),
  );
  await install(whole, output, options.sanitize === true ? "whole" : "stripped");
}

/** Puts a program into its place; one that runs keeps its own file. */
async function install(program: string, output: string, form: "whole" | "stripped"): Promise<void> {
  mkdirSync(dirname(output), { recursive: true });
  const fresh = `${output}.${process.pid}`;
  if (form === "whole") copyFileSync(program, fresh);
  else await run("strip", ["-o", fresh, program]);
  renameSync(fresh, output);
}

/** Builds the three programs into dist/, or the shim alone into dist/sanitize/. */
export async function buildAll({ sanitize = false }: BuildOptions = {}): Promise<void> {
  const shim = join(root, "dist", sanitize ? "sanitize" : "", "containerd-shim-holdfast-v2");
  await Promise.all([
    buildProgram(join(root, "cmd/shim/main.ts"), shim, { sanitize }),
    sanitize ? undefined : buildNodePrograms(join(root, "dist")),
    sanitize ? undefined : install(await layerProgram(), join(root, "dist/holdfast-layer"), "stripped"),
  ]);
  prune();
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await buildAll({ sanitize: process.argv.includes("--sanitize") });
}
