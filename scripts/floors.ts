// The floors of the tree, and whether every import goes down. Part of npm run check, which also says whether the picture in docs/architecture.md is up
// to date; `npm run floors` (--diagram) draws it anew.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { root } from "./cache.ts";

/** Each folder with those that it may import. What is not named here is refused; a folder may always import itself. */
export const FLOORS: Readonly<Record<string, readonly string[]>> = {
  "cmd/shim": ["src/shim", "src/log", "src/api", "src/platform"],
  "cmd/daemon": ["src/manager", "src/platform"],
  "cmd/holdfast": ["src/cli", "src/node-parts", "src/platform"],
  "src/shim": [
    "src/task",
    "src/runc",
    "src/cgroup",
    "src/events",
    "src/reaper",
    "src/ttrpc",
    "src/log",
    "src/api",
    "src/platform",
  ],
  "src/manager": [
    "src/images",
    "src/transfer",
    "src/registry",
    "src/events",
    "src/shims",
    "src/ttrpc",
    "src/api",
    "src/platform",
  ],
  "src/cli": [
    "src/images",
    "src/transfer",
    "src/registry",
    "src/shims",
    "src/ttrpc",
    "src/api",
    "src/platform",
  ],
  "src/node-parts": ["src/api", "src/platform"],
  "src/images": ["src/shims", "src/ttrpc", "src/api", "src/platform"],
  "src/transfer": ["src/registry", "src/ttrpc", "src/api"],
  "src/registry": ["src/ttrpc", "src/api"],
  "src/task": [
    "src/runc",
    "src/stdio",
    "src/cgroup",
    "src/events",
    "src/reaper",
    "src/ttrpc",
    "src/log",
    "src/api",
    "src/platform",
  ],
  "src/runc": ["src/reaper", "src/ttrpc", "src/log", "src/api", "src/platform"],
  "src/stdio": ["src/log", "src/api", "src/platform"],
  "src/cgroup": ["src/log", "src/api", "src/platform"],
  "src/events": ["src/ttrpc", "src/log", "src/api", "src/platform"],
  "src/shims": ["src/ttrpc", "src/api", "src/platform"],
  "src/reaper": ["src/log", "src/platform"],
  "src/ttrpc": ["src/platform"],
  "src/log": ["src/api", "src/platform"],
  "src/api": ["src/platform"],
  "src/platform": [],
};

/** A file of the tree and the files of the tree that it imports, as paths from the project's root. */
export type Imports = ReadonlyMap<string, readonly string[]>;

/** What the files below src and cmd import. Types count: they too must not point upwards. */
export function readImports(directory: string = root): Imports {
  const imports = new Map<string, readonly string[]>();
  for (const top of ["cmd", "src"]) {
    for (const name of readdirSync(join(directory, top), { recursive: true, encoding: "utf8" })) {
      if (!name.endsWith(".ts")) continue;
      const file = join(top, name);
      const found = readFileSync(join(directory, file), "utf8").matchAll(
        /(?:from|import)\s*\(?\s*"(\.[^"]+)"/g,
      );
      const targets = [...found].map(([, path = ""]) =>
        relative(directory, resolve(directory, dirname(file), path)),
      );
      imports.set(file, targets);
    }
  }
  return imports;
}

/** The folder that a file counts to: `src/task`, `cmd/shim`. */
function folderOf(file: string): string {
  return file.split("/").slice(0, 2).join("/");
}

/** A line for each import that the floors do not allow, and for each circle of files. Empty if all is well. */
export function violations(imports: Imports): string[] {
  const found: string[] = [];
  for (const [file, targets] of imports) {
    const from = folderOf(file);
    for (const target of targets) {
      const to = folderOf(target);
      if (from !== to && FLOORS[from]?.includes(to) !== true) found.push(`${file} must not import ${target}`);
    }
  }
  return [...found, ...circles(imports).map((circle) => `a circle: ${circle.join(" → ")}`)];
}

/** Each circle once, from the file at which the search met it. What buf generates is out of our hands. */
function circles(imports: Imports): string[][] {
  const found: string[][] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): void => {
    const at = path.indexOf(file);
    if (at >= 0) found.push([...path.slice(at), file]);
    if (at >= 0 || done.has(file)) return;
    path.push(file);
    for (const target of imports.get(file) ?? []) visit(target);
    path.pop();
    done.add(file);
  };
  for (const file of imports.keys()) visit(file);
  return found;
}

const DOCUMENT = join(root, "docs/architecture.md");
const BEGIN = "<!-- floors: made by npm run floors -->\n";
const END = "<!-- /floors -->";

/** The floors as a Mermaid graph, an arrow for each import that is there. */
export function diagram(imports: Imports): string {
  const edges = new Set<string>();
  for (const [file, targets] of imports) {
    for (const target of targets) {
      if (folderOf(file) !== folderOf(target)) edges.add(`${folderOf(file)} --> ${folderOf(target)}`);
    }
  }
  const order = Object.keys(FLOORS);
  const rank = (edge: string): number => {
    const [from = "", to = ""] = edge.split(" --> ");
    return order.indexOf(from) * order.length + order.indexOf(to);
  };
  const lines = [...edges].sort((a, b) => rank(a) - rank(b)).map((edge) => `  ${edge}`);
  return ["```mermaid", "flowchart TD", ...lines, "```", ""].join("\n");
}

/** The document with the picture put between its marks. Throws if the marks are not there. */
function withDiagram(text: string, picture: string): string {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${DOCUMENT}: no place for the floors`);
  return text.slice(0, begin + BEGIN.length) + picture + text.slice(end);
}

function main(args: readonly string[]): number {
  const imports = readImports();
  const found = violations(imports);
  for (const line of found) console.error(line);
  const text = readFileSync(DOCUMENT, "utf8");
  const fresh = withDiagram(text, diagram(imports));
  if (args.includes("--diagram")) writeFileSync(DOCUMENT, fresh);
  else if (fresh !== text) found.push("stale");
  if (found.includes("stale"))
    console.error(`${DOCUMENT}: the floors are not as the code has them: npm run floors`);
  return found.length === 0 ? 0 : 1;
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === import.meta.filename) {
  process.exit(main(process.argv.slice(2)));
}
