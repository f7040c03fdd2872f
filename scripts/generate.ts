// Turns src/api/proto into src/api/generated with buf and ts-proto; `--check` changes nothing and fails if the tree is not up to date.
// Works offline. Run it after changing a .proto file and commit both.

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const root = join(import.meta.dirname, "..");
const target = join(root, "src/api/generated");

function sources(directory: string): string[] {
  const names = readdirSync(directory, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(".ts")).sort();
}

/**
 * ts-proto wraps each decode() in a count of its depth. No message of ours contains itself, so the depth is bounded by the messages
 * (a test holds us to that), and the count would be a tenth of the code that every shim keeps in memory.
 */
function dropDepthCount(code: string, file: string): string {
  const start = "    const previousRecursionDepth = ";
  const open = "    try {\n";
  const close =
    "    } finally {\n      (reader as any).__tsProtoDecodeDepth = previousRecursionDepth;\n    }\n";
  let rest = code;
  let result = "";
  for (;;) {
    const at = rest.indexOf(start);
    if (at < 0) break;
    const body = rest.indexOf(open, at);
    const end = rest.indexOf(close, body);
    if (body < 0 || end < 0) throw new Error(`${file}: decode() no longer looks as expected`);
    result +=
      rest.slice(0, at) +
      rest
        .slice(body + open.length, end)
        .replaceAll("\n  ", "\n")
        .slice(2);
    rest = rest.slice(end + close.length);
  }
  result += rest;
  if (result.includes(" as any).__")) throw new Error(`${file}: decode() no longer looks as expected`);
  return result;
}

function generate(directory: string): void {
  const buf = join(root, "node_modules/.bin/buf");
  const run = spawnSync(buf, ["generate", "--output", directory], { cwd: root, encoding: "utf8" });
  if (run.status !== 0) throw new Error(`buf generate: ${run.error?.message ?? run.stderr}`);
  for (const name of sources(directory)) {
    const path = join(directory, name);
    writeFileSync(path, dropDepthCount(readFileSync(path, "utf8"), name));
  }
}

/** Names of the files that differ, are missing or are left over. */
function differences(fresh: string): string[] {
  const names = new Set([...sources(fresh), ...sources(target)]);
  const read = (directory: string, name: string) =>
    sources(directory).includes(name) ? readFileSync(join(directory, name), "utf8") : undefined;
  return [...names].filter((name) => read(fresh, name) !== read(target, name));
}

const fresh = mkdtempSync(join(tmpdir(), "holdfast-generate-"));
try {
  generate(fresh);
  if (process.argv.includes("--check")) {
    const stale = differences(fresh);
    for (const name of stale) console.error(`src/api/generated/${name} is not up to date: npm run generate`);
    process.exitCode = stale.length === 0 ? 0 : 1;
  } else {
    rmSync(target, { recursive: true, force: true });
    cpSync(fresh, target, { recursive: true });
  }
} finally {
  rmSync(fresh, { recursive: true });
}
