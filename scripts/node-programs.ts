// Bundles the programs for Node: holdfastd and holdfast, each one file that runs by itself, and LMDB's native part beside them. Called by build.ts.
import { chmodSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { build, type Plugin } from "esbuild";
import { root } from "./cache.ts";

const PROGRAMS = [
  // Node's own choice for the heap of young objects makes a busy daemon take half as much memory again.
  { entry: "cmd/daemon/main.ts", name: "holdfastd", flags: "--max-semi-space-size=2" },
  { entry: "cmd/holdfast/main.ts", name: "holdfast", flags: "" },
] as const;
const LMDB_ADDON = "lmdb.node";

/** lmdb looks for its addon in node_modules; ours lies beside the program. */
const lmdbAddon: Plugin = {
  name: "lmdb-addon",
  setup(builder) {
    builder.onResolve({ filter: /^node-gyp-build-optional-packages$/ }, () => ({
      path: "addon",
      namespace: "lmdb-addon",
    }));
    builder.onLoad({ filter: /.*/, namespace: "lmdb-addon" }, () => ({
      contents: `module.exports = () => require(require("node:path").join(require("node:fs").realpathSync(__dirname), "${LMDB_ADDON}"));`,
    }));
    // Its CommonJS form: some of it is made by eval(), and would miss the names that merging modules changes.
    builder.onResolve({ filter: /^lmdb$/ }, () => ({ path: createRequire(import.meta.url).resolve("lmdb") }));
    // A faster decoder for a format that we do not use.
    builder.onResolve({ filter: /^msgpackr-extract$/ }, () => ({ path: "none", namespace: "none" }));
    builder.onLoad({ filter: /.*/, namespace: "none" }, () => ({ contents: "" }));
  },
};

/** Writes them into `directory`. */
export async function buildNodePrograms(directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true });
  // A file without extension is what the package around it says; anywhere else it is CommonJS.
  writeFileSync(join(directory, "package.json"), '{ "type": "commonjs" }\n');
  // A daemon that runs keeps its own: it would crash over a file that is written anew under it.
  const addon = join(directory, LMDB_ADDON);
  writeFileSync(`${addon}.${process.pid}`, withShortError(readFileSync(addonPath())));
  renameSync(`${addon}.${process.pid}`, addon);
  await Promise.all(
    PROGRAMS.map(({ entry, name, flags }) => bundle(join(root, entry), join(directory, name), flags)),
  );
}

async function bundle(entry: string, output: string, flags: string): Promise<void> {
  const fresh = `${output}.${process.pid}`;
  await build({
    entryPoints: [entry],
    outfile: fresh,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    plugins: [lmdbAddon],
    define: { "import.meta.url": "importMetaUrl" },
    banner: {
      js: `${launcher(flags)}const importMetaUrl = require("node:url").pathToFileURL(__filename).href;`,
    },
    logLevel: "warning",
  });
  chmodSync(fresh, 0o755);
  renameSync(fresh, output);
}

/** The head of a program: to a shell a script that runs Node on the file, to Node a comment. */
function launcher(flags: string): string {
  const script = readFileSync(join(import.meta.dirname, "launcher.sh"), "utf8").replace("NODE_FLAGS", flags);
  if (script.includes("*/")) throw new Error("launcher.sh ends the comment that it is to Node");
  return `#!/bin/sh\n":" /*\n${script}*/\n`;
}

const KEPT = "Attempting to write page at position %u, size %u";
const CUT = ", blocks %u, buffer sizes %i %i %i";

/**
 * What lmdb 3.5.6 says of a disk that is full has up to 133 bytes, which it writes into 100 on the heap: docs/upstream-lmdb.md. Cut short, it fits.
 * Throws where that text is not, or not once: an lmdb that is mended needs no cut, one that is changed another.
 */
export function withShortError(addon: Buffer): Buffer {
  const at = addon.indexOf(`${KEPT}${CUT}\0`);
  if (at < 0 || addon.indexOf(KEPT, at + 1) >= 0 || addon.indexOf(KEPT) !== at) {
    throw new Error(
      "lmdb's addon is not the one that scripts/node-programs.ts patches: see docs/upstream-lmdb.md",
    );
  }
  return addon.fill(0, at + KEPT.length, at + KEPT.length + CUT.length);
}

function addonPath(): string {
  const platform = createRequire(createRequire(import.meta.url).resolve("lmdb"));
  return join(
    dirname(platform.resolve(`@lmdb/lmdb-${process.platform}-${process.arch}`)),
    "node.napi.glibc.node",
  );
}
