import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync, rmSync } from "node:fs";
import { join } from "node:path";
const root = "/tmp/wt/task";
const { mutants } = await import(root + "/test/mutants/task.ts");
const tree = mkdtempSync("/tmp/task-mut-");
const files = spawnSync("git", ["ls-files", "-co", "--exclude-standard"], { cwd: root, encoding: "utf8" });
for (const file of files.stdout.trim().split("\n")) cpSync(join(root, file), join(tree, file));
for (const shared of ["node_modules", "build"]) symlinkSync(join(root, shared), join(tree, shared));
const node = (args: string[], timeout = 170000) => spawnSync("node", ["--import", "tsx", ...args], { cwd: tree, encoding: "utf8", timeout });
writeFileSync(join(tree, "b.ts"), 'import { buildProgram } from "./scripts/build.ts"; await buildProgram("cmd/shim/main.ts", "dist/containerd-shim-holdfast-v2");');
const from = Number(process.argv[2] ?? 0), step = Number(process.argv[3] ?? 1);
for (const [i, m] of mutants.entries()) {
  if (i % step !== from) continue;
  const path = join(tree, m.file), source = readFileSync(path, "utf8");
  writeFileSync(path, source.replace(m.text, () => m.replacement));
  let verdict = "?";
  const b = node(["b.ts"]);
  if (b.status !== 0) verdict = "NO BUILD " + b.stderr.slice(-300);
  else {
    const test = m.tests[m.tests.length > 1 && m.tests[0] === "test/task/lifecycle.test.ts" ? 0 : 0];
    const r = node(["--test", test]);
    const bad = (r.stdout.match(/^not ok .*$/gm) ?? []).join(" | ");
    verdict = r.status === 0 ? "SURVIVED" : `caught: ${bad.slice(0, 160)}`;
  }
  writeFileSync(path, source);
  console.log(new Date().toISOString().slice(11, 19), m.what, "=>", verdict);
}
rmSync(tree, { recursive: true, force: true });
