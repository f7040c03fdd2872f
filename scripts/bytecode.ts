// From TypeScript to bytecode: esbuild bundles, scripts/bytecode.c compiles. Called by build.ts.
import { writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { cache, cached, hashOf, root, run } from "./cache.ts";
import { bytecodeCompiler, type HostKind } from "./compile-c.ts";
import { nodeParts } from "./node-parts.ts";
import { PLAIN_NAMES, privateNames } from "./private-names.ts";
import { shimCodecs } from "./shim-codecs.ts";
import { sourcePlaces } from "./source-places.ts";

/** What a bundle takes beside what all have: the shim's is small, that of `holdfast` has Node's parts. */
const OPTIONS: Readonly<Record<HostKind, Pick<BuildOptions, "plugins" | "mangleProps">>> = {
  shim: { plugins: [shimCodecs(), privateNames()], mangleProps: PLAIN_NAMES },
  front: { plugins: [nodeParts()] },
};

/** The file with the bytecode of `entry` and all that it imports. */
export async function compileBytecode(
  engine: string,
  entry: string,
  host: HostKind = "shim",
): Promise<string> {
  const [compiler, { code, places }] = await Promise.all([bytecodeCompiler(engine), bundle(entry, host)]);
  return cached("bytecode", hashOf([compiler, code, places, host]), ".bin", async (path) => {
    writeFileSync(`${path}.js`, code);
    writeFileSync(`${path}.places`, places);
    const regexps = host === "shim" ? [] : ["regexps"];
    await run(compiler, [path, `${path}.js`, `${path}.places`, ...regexps]);
  });
}

/** One minified module, and where each place in it comes from. */
async function bundle(entry: string, host: HostKind): Promise<{ code: string; places: string }> {
  const outfile = join(cache, "bundle.js"); // not written; paths in the source map start from it
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    outfile,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2023",
    external: ["holdfast:host"],
    minify: true,
    legalComments: "none",
    sourcemap: "external",
    logLevel: "warning",
    absWorkingDir: root,
    ...OPTIONS[host],
  });
  const text = (suffix: string): string => {
    const file = result.outputFiles.find((each) => each.path.endsWith(suffix));
    if (file === undefined) throw new Error(`esbuild made no ${suffix} for ${entry}`);
    return file.text;
  };
  const sourceName = (source: string): string => relative(root, resolve(cache, source));
  return { code: text(".js"), places: sourcePlaces(text(".js.map"), sourceName) };
}
