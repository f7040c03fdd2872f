// Bundles the programs for Node: holdfastd and holdfast, each one file that runs by itself, and LMDB's native part beside them. Called by build.ts.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";
import { helpPages } from "../src/cli/program.ts";
import { root } from "./cache.ts";

const PROGRAMS = [
  // Node's own choice for the heap of young objects makes a busy daemon take half as much memory again.
  { entry: "cmd/daemon/main.ts", name: "holdfastd", flags: "--max-semi-space-size=2", startsOften: false },
  { entry: "cmd/holdfast/main.ts", name: "holdfast-node", flags: "", startsOften: true },
] as const;
const LMDB_ADDON = "lmdb.node";
/** The directory of the pages of --help. */
const HELP = "help";

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

/** Takes 30 ms to load, for its tables of emoji; needed where text is not plain ASCII. */
const LATE = "string-width";

/** Loads that package when it is called first: what imports it has a function at once. */
const lateWidth: Plugin = {
  name: "late-width",
  setup(builder) {
    builder.onResolve({ filter: new RegExp(`^${LATE}$`) }, ({ pluginData, resolveDir }) =>
      pluginData === LATE ? undefined : { path: LATE, namespace: "late", pluginData: { resolveDir } },
    );
    builder.onLoad({ filter: /.*/, namespace: "late" }, ({ pluginData: { resolveDir } }) => ({
      contents: `let it; module.exports = (...args) => (it ??= require("${LATE}").default)(...args);`,
      resolveDir,
      pluginData: LATE,
    }));
  },
};

/** Parts of Node that most verbs import and do not use: loading them all takes a third of the time until a verb begins. */
const RARE = [
  "child_process",
  "crypto",
  "fs/promises",
  "http",
  "https",
  "os",
  "readline/promises",
  "tls",
  "zlib",
];

/** Loads each of them when something of it is used first. */
const lateParts: Plugin = {
  name: "late-parts",
  setup(builder) {
    builder.onResolve({ filter: new RegExp(`^(node:)?(${RARE.join("|")})$`) }, ({ path, namespace }) =>
      namespace === "late-part"
        ? { path, external: true }
        : { path: path.replace(/^node:/, ""), namespace: "late-part" },
    );
    builder.onLoad({ filter: /.*/, namespace: "late-part" }, ({ path }) => {
      const names = Object.keys(createRequire(import.meta.url)(path) as object).filter(
        (name) => name !== "default",
      );
      const getters = names.map((name) => `get ${JSON.stringify(name)}() { return part().${name}; }`);
      return {
        contents: `const part = () => require("node:${path}"); module.exports = { ${getters.join(", ")} };`,
      };
    });
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
    PROGRAMS.map(({ entry, name, flags, startsOften }) =>
      startsOften
        ? bundleTwice(entry, directory, name, flags)
        : bundle(join(root, entry), join(directory, name), launcher(flags, "")),
    ),
  );
}

/** A program whose code is kept as V8 has it: the launcher runs the file beside it (src/platform/code-cache.ts). */
async function bundleTwice(entry: string, directory: string, name: string, flags: string): Promise<void> {
  const program = `${name}.js`;
  await bundle(join(root, entry), join(directory, program));
  const loader = `
    import { join } from "node:path";
    import { runProgramFile } from "./src/platform/code-cache.ts";
    runProgramFile(join(__dirname, "${program}"), require, process.argv[2] === ":");
  `;
  const head = launcher(flags, scriptText("launcher-help.sh"));
  await bundle({ contents: loader, resolveDir: root, loader: "ts" }, join(directory, name), head);
  await writeHelpPages(join(directory, HELP));
  // Its first start leaves the code behind: of what every verb needs, and of a connection to a daemon.
  const env = { ...process.env, HOLDFAST_ADDRESS: join(directory, "none.sock"), HOLDFAST_TIMEOUT: "1s" };
  execFileSync(join(directory, name), ["version"], { env, stdio: "ignore" });
}

type Entry = string | NonNullable<BuildOptions["stdin"]>;

/** `head` makes it a program that can be started by itself. */
async function bundle(entry: Entry, output: string, head?: string): Promise<void> {
  const fresh = `${output}.${process.pid}`;
  await build({
    ...(typeof entry === "string" ? { entryPoints: [entry] } : { stdin: entry }),
    outfile: fresh,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    plugins: [lmdbAddon, lateWidth, lateParts],
    // A program is read whole at each start. Names stay, for who reads where an error comes from.
    minifySyntax: true,
    minifyWhitespace: true,
    define: { "import.meta.url": "importMetaUrl" },
    banner: {
      js: `${head ?? ""}const importMetaUrl = require("node:url").pathToFileURL(__filename).href;`,
    },
    logLevel: "warning",
  });
  chmodSync(fresh, head === undefined ? 0o644 : 0o755);
  renameSync(fresh, output);
}

/** What stands before Node in `holdfast`: the pages of --help, one file each. What an older build has left there goes. */
async function writeHelpPages(directory: string): Promise<void> {
  const pages = await helpPages();
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of pages) {
    const fresh = join(directory, `${name}.${process.pid}`);
    writeFileSync(fresh, text);
    renameSync(fresh, join(directory, name));
  }
  const isOld = (name: string): boolean => /^[A-Za-z]+$/.test(name) && !pages.has(name);
  for (const name of readdirSync(directory).filter(isOld)) rmSync(join(directory, name), { force: true });
}

function scriptText(name: string): string {
  return readFileSync(join(import.meta.dirname, name), "utf8");
}

/** The head of a program: to a shell a script that runs Node on the file, to Node a comment. `help` answers before that. */
function launcher(flags: string, help: string): string {
  const script = scriptText("launcher.sh")
    .replace("HELP_PAGES\n", () => help)
    .replace("NODE_FLAGS", flags);
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
