// esbuild plugin for the bundle of `holdfast`: what it imports of Node is src/node-parts or a package that does the same. What neither has, and every
// verb that is not served here, goes on in Node (src/node-parts/go-on.ts) when it is used. Called by bytecode.ts.
import { builtinModules, createRequire } from "node:module";
import { join, relative } from "node:path";
import type { Plugin } from "esbuild";
import { root } from "./cache.ts";

const PARTS = join(root, "src/node-parts");

/** Parts of Node, packages and files of ours, by what stands for them. */
const STANDINS: Readonly<Record<string, string>> = {
  fs: `${PARTS}/fs.ts`,
  net: `${PARTS}/net.ts`,
  os: `${PARTS}/os.ts`,
  crypto: `${PARTS}/crypto.ts`,
  child_process: `${PARTS}/child-process.ts`,
  "timers/promises": `${PARTS}/timers-promises.ts`,
  "process/": `${PARTS}/next-tick.ts`,
  "src/cli/session/make-fifos.ts": `${PARTS}/make-fifos.ts`,
  path: packageFile("path-browserify"),
  events: packageFile("events/"),
  buffer: packageFile("buffer/"),
  string_decoder: packageFile("string_decoder/"),
  stream: packageFile("readable-stream/lib/ours/browser.js"),
  "abort-controller": `${PARTS}/abort.ts`,
};

/** The verbs that are here; the others are in Node's program alone. */
const VERBS = "src/cli/verbs/";
const SERVED: readonly string[] = [
  "images.ts",
  "inspect.ts",
  "list.ts",
  "run.ts",
  "shims.ts",
  "stop.ts",
  "task.ts",
  "version.ts",
  "wait.ts",
];
/** What they import late, before they have done anything, and what is not here either. */
const ELSEWHERE: readonly string[] = ["src/cli/images/pull.ts", "src/cli/session/terminal.ts"];

function isElsewhere(file: string): boolean {
  if (!file.startsWith(VERBS)) return ELSEWHERE.includes(file);
  return !SERVED.includes(file.slice(VERBS.length));
}

function packageFile(name: string): string {
  return createRequire(import.meta.url).resolve(name);
}

/** Modules that are made here. */
const MADE: Readonly<Record<string, string>> = {
  // To those who require it, it is what to others is its default.
  process: `module.exports = require(${text("process.ts")}).process;`,
  "string-width": `export { stringWidth as default } from ${text("string-width.ts")};`,
};

/** The path of a part, as code has it. */
function text(part: string): string {
  return JSON.stringify(join(PARTS, part));
}

export function nodeParts(): Plugin {
  return {
    name: "node-parts",
    setup(builder) {
      builder.onResolve({ filter: /^[^./]/ }, ({ path }) => {
        const name = path.replace(/^node:/, "");
        const standin = STANDINS[name];
        if (standin !== undefined) return { path: standin };
        if (name in MADE) return { path: name, namespace: "made" };
        return builtinModules.includes(name) ? { path: name, namespace: "in-node" } : undefined;
      });
      builder.onResolve({ filter: /^\./ }, ({ path, resolveDir, kind }) => {
        const file = relative(root, join(resolveDir, path));
        const standin = STANDINS[file];
        if (standin !== undefined) return { path: standin };
        const isLate = kind === "dynamic-import";
        return isLate && isElsewhere(file) ? { path: file, namespace: "late-in-node" } : undefined;
      });
      const load = (namespace: string, code: (path: string) => string | undefined): void =>
        builder.onLoad({ filter: /.*/, namespace }, ({ path }) => ({
          contents: code(path) ?? "",
          resolveDir: root,
        }));
      load("made", (name) => MADE[name]);
      load("in-node", nodeModule);
      load(
        "late-in-node",
        (file) => `import { goOnInNode } from ${text("go-on.ts")}; goOnInNode("${file}");`,
      );
    },
  };
}

/** Each name of a module of Node's goes on there when it is looked at. */
function nodeModule(name: string): string {
  const names = Object.keys(createRequire(import.meta.url)(`node:${name}`) as object);
  const getters = names.map((each) => `get ${JSON.stringify(each)}() { return part(); }`);
  return `const { goOnInNode } = require(${text("go-on.ts")});
    const part = () => goOnInNode("${name}");
    module.exports = { ${getters.join(", ")} };`;
}
