// Whether the compiled programs are as hard to misuse as they are meant to be, by what readelf and objdump say of them: part of npm run check. What is not
// built is passed over.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { root } from "./cache.ts";
import { hostObjects, layerObjects, quickjs, release } from "./compile-c.ts";

const PROGRAMS = ["containerd-shim-holdfast-v2", "holdfast", "holdfast-layer"];
/** A text that readelf's answer for an object file must have. */
const CONTROL_FLOW = process.arch === "arm64" ? /AArch64 feature: BTI, PAC/ : /x86 feature: IBT, SHSTK/;
/** How a frame touches a page of itself, on this processor. */
const PROBE = process.arch === "arm64" ? /str\s+xzr, \[sp/ : /or[ql]\s+\$0x0,\(%rsp\)/;

function tool(name: "readelf" | "objdump", ...args: string[]): string {
  return execFileSync(name, args, { encoding: "utf8", maxBuffer: 1 << 28 });
}

/** What is wrong with a linked program. */
export function faultsOfProgram(path: string): string[] {
  const headers = tool("readelf", "-hW", path);
  const segments = tool("readelf", "-lW", path);
  const dynamic = tool("readelf", "-dW", path);
  const stack = segments.match(/GNU_STACK .*/)?.[0] ?? "";
  const rules: readonly (readonly [fault: string, holds: boolean])[] = [
    [
      "its place in memory is known before (no PIE)",
      /Type:\s+DYN/.test(headers) && /FLAGS_1.*PIE/.test(dynamic),
    ],
    ["it needs an interpreter (not static)", !segments.includes("INTERP")],
    ["what is linked stays writable (no RELRO)", segments.includes("GNU_RELRO")],
    ["symbols are bound late", /BIND_NOW|FLAGS_1.*NOW/.test(dynamic)],
    ["its stack is executable", stack !== "" && !/RWE/.test(stack)],
    ["it has memory that is writable and executable", !/LOAD .* RWE /.test(segments)],
    ["its code is changed when it is loaded (text relocations)", !dynamic.includes("TEXTREL")],
  ];
  return rules.filter(([, holds]) => !holds).map(([fault]) => `${basename(path)}: ${fault}`);
}

/** What is wrong with object files, of which a linked program says less: Debian's C library is compiled without CET, so the whole has no mark of it. */
export function faultsOfObjects(name: string, objects: readonly string[]): string[] {
  const unmarked = objects.filter((path) => !CONTROL_FLOW.test(tool("readelf", "-nW", path)));
  const symbols = objects.map((path) => tool("readelf", "-sW", path)).join("\n");
  const code = objects.map((path) => tool("objdump", "-d", "--no-show-raw-insn", path)).join("\n");
  return [
    ...unmarked.map((path) => `${name}: ${basename(path)} lets jumps go anywhere`),
    ...(symbols.includes("__stack_chk_fail") ? [] : [`${name}: no stack is guarded`]),
    ...(symbols.includes("_chk") ? [] : [`${name}: no copy is checked (FORTIFY_SOURCE)`]),
    ...(PROBE.test(code) ? [] : [`${name}: no large frame touches its pages`]),
  ];
}

if (process.argv[1] === import.meta.filename) {
  const programs = PROGRAMS.map((name) => join(root, "dist", name)).filter(existsSync);
  const faults = [
    ...programs.flatMap(faultsOfProgram),
    ...faultsOfObjects("the shim", await hostObjects(quickjs(), release)),
    ...faultsOfObjects("holdfast", await hostObjects(quickjs(), release, "front")),
    ...faultsOfObjects("holdfast-layer", await layerObjects()),
  ];
  for (const fault of faults) console.error(fault);
  process.exit(faults.length === 0 ? 0 : 1);
}
