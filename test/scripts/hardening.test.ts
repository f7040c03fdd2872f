// npm run check notices a program that is not hardened: each fault is made on purpose.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { faultsOfObjects, faultsOfProgram } from "../../scripts/hardening.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-hardening-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const source = join(directory, "p.c");
writeFileSync(
  source,
  "#include <string.h>\nint main(int c, char **v) { char b[9000]; strcpy(b, v[0]); return b[c]; }\n",
);

function compile(...flags: string[]): string {
  const path = join(directory, "p");
  execFileSync("gcc", ["-O1", ...flags, "-o", path, source], { stdio: "pipe" });
  return path;
}

const GOOD = ["-fPIE", "-static-pie", "-Wl,-z,relro,-z,now,-z,noexecstack"];

test("a program that is linked as ours has no fault", () => {
  assert.deepEqual(faultsOfProgram(compile(...GOOD)), []);
});

for (const [fault, flags] of [
  ["its place in memory is known before (no PIE)", ["-static", "-no-pie", "-Wl,-z,relro,-z,now"]],
  ["it needs an interpreter (not static)", ["-fPIE", "-pie", "-Wl,-z,relro,-z,now"]],
  ["what is linked stays writable (no RELRO)", [...GOOD, "-Wl,-z,norelro"]],
  ["its stack is executable", ["-fPIE", "-static-pie", "-Wl,-z,relro,-z,now,-z,execstack"]],
] as const) {
  test(`${fault}: it is told`, () => {
    assert.ok(faultsOfProgram(compile(...flags)).includes(`p: ${fault}`));
  });
}

test("object files without the marks, guards and probes are told", () => {
  const object = join(directory, "p.o");
  const make = (...flags: string[]): string[] => {
    execFileSync("gcc", ["-O1", "-c", ...flags, "-o", object, source], { stdio: "pipe" });
    return faultsOfObjects("p", [object]).sort();
  };
  const flow = process.arch === "arm64" ? "-mbranch-protection=" : "-fcf-protection=";
  const [some, none] = process.arch === "arm64" ? ["standard", "none"] : ["full", "none"];
  const good = [
    "-fstack-protector-strong",
    "-fstack-clash-protection",
    "-D_FORTIFY_SOURCE=2",
    `${flow}${some}`,
  ];
  assert.deepEqual(make(...good), []);
  const bad = ["-fno-stack-protector", "-fno-stack-clash-protection", "-U_FORTIFY_SOURCE", `${flow}${none}`];
  assert.deepEqual(make(...bad), [
    "p: no copy is checked (FORTIFY_SOURCE)",
    "p: no large frame touches its pages",
    "p: no stack is guarded",
    "p: p.o lets jumps go anywhere",
  ]);
});
