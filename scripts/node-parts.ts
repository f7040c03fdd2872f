// esbuild plugin for the bundle of `holdfast`: what it imports of Node is src/node-parts or a package that does the same. What neither has, and every
// verb that is not served here, goes on in Node (src/node-parts/go-on.ts) when it is used. Called by bytecode.ts.
import { builtinModules, createRequire } from "node:module";
import { join, relative } from "node:path";
import type { Plugin } from "esbuild";
import { root } from "./cache.ts";

const PARTS = join(root, "src/node-parts");
const GO_ON = join(PARTS, "go-on.ts");

/** Parts of Node, and packages, by what stands for them. */
const STANDINS: Readonly<Record<string, string>> = {
  fs: `${PARTS}/fs.ts`,
  net: `${PARTS}/net.ts`,
  os: `${PARTS}/os.ts`,
  crypto: `${PARTS}/crypto.ts`,
  child_process: `${PARTS}/child-process.ts`,
  "timers/promises": `${PARTS}/timers-promises.ts`,
  "process/": `${PARTS}/next-tick.ts`,
  "string-width": `${PARTS}/string-width.ts`,
  path: packageFile("path-browserify"),
  events: packageFile("events/"),
  buffer: packageFile("buffer/"),
  string_decoder: packageFile("string_decoder/"),
  stream: packageFile("readable-stream/lib/ours/browser.js"),
  "abort-controller": `${PARTS}/abort.ts`,
};

/** What is imported late and is here: the rest of the verbs is in Node's program alone. */
const SERVED: readonly string[] = [
  "src/cli/containers/daemon-client.ts",
  "src/cli/verbs/images.ts",
  "src/cli/verbs/list.ts",
  "src/cli/verbs/run.ts",
];

function packageFile(name: string): string {
  return createRequire(import.meta.url).resolve(name);
}

export function nodeParts(): Plugin {
  return {
    name: "node-parts",
    setup(builder) {
      builder.onResolve({ filter: /^[^./]/ }, ({ path }) => {
        const name = path.replace(/^node:/, "");
        if (name === "process") return { path: name, namespace: "process" };
        const standin = STANDINS[name];
        if (standin !== undefined) return { path: standin };
        return builtinModules.includes(name) ? { path: name, namespace: "in-node" } : undefined;
      });
      builder.onResolve({ filter: /^\./ }, ({ path, resolveDir, kind, importer }) => {
        if (importer.startsWith(PARTS)) return undefined;
        const file = relative(root, join(resolveDir, path));
        if (file === "src/cli/session/make-fifos.ts") return { path: join(PARTS, "make-fifos.ts") };
        return kind === "dynamic-import" && !SERVED.includes(file)
          ? { path: file, namespace: "verb-in-node" }
          : undefined;
      });
      // To those who require it, it is what to others is its default.
      builder.onLoad({ filter: /.*/, namespace: "process" }, () => ({
        contents: `module.exports = require(${JSON.stringify(join(PARTS, "process.ts"))}).process;`,
        resolveDir: root,
      }));
      builder.onLoad({ filter: /.*/, namespace: "in-node" }, ({ path }) => ({ contents: lateModule(path), resolveDir: root }));
      builder.onLoad({ filter: /.*/, namespace: "verb-in-node" }, ({ path }) => ({
        contents: `import { goOnInNode } from ${JSON.stringify(GO_ON)}; goOnInNode(${JSON.stringify(path)});`,
        resolveDir: root,
      }));
    },
  };
}

/** Each name of the module goes on in Node when it is looked at. */
function lateModule(name: string): string {
  const names = Object.keys(createRequire(import.meta.url)(`node:${name}`) as object);
  const getters = names.map((each) => `get ${JSON.stringify(each)}() { return part(); }`);
  return `const { goOnInNode } = require(${JSON.stringify(GO_ON)});
    const part = () => goOnInNode(${JSON.stringify(name)});
    module.exports = { ${getters.join(", ")} };`;
}
