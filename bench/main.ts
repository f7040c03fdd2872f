// npm run bench: ours beside the Go shim, in the same minutes on the same machine. Prints a table and writes it to bench/RESULTS.md.
// `--short` takes smaller samples, to try the bench itself; its figures are not written.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Daemon } from "../test/harness/daemon.ts";
import { GO_RUNTIME, OUR_RUNTIME } from "../test/harness/runtime.ts";
import { machine } from "./machine.ts";
import { type Sides, shimMemory } from "./memory.ts";
import { outputTime, runTime } from "./time.ts";

const short = process.argv.includes("--short");
const size = short
  ? { shims: 10, runs: 5, output: 1, outputMiB: 256 }
  : { shims: 60, runs: 20, output: 5, outputMiB: 4096 };

interface Row {
  readonly what: string;
  readonly ours: string;
  readonly go: string;
  readonly goal: string;
  readonly met: boolean;
}

const mb = (kib: number): string => `${((kib * 1024) / 1e6).toFixed(2)} MB`;

async function memoryRows(sides: Sides): Promise<Row[]> {
  const [ours, go] = await shimMemory(sides, 1);
  const [many, goMany] = await shimMemory(sides, size.shims);
  const among = `among ${size.shims} shims`;
  return [
    row("RSS of one shim, idle for 5 s", mb(ours.rss), mb(go.rss), "≤ 3.0 MB", ours.rss * 1024 <= 3.0e6),
    row("its threads", `${ours.threads}`, `${go.threads}`, "1", ours.threads === 1),
    row(
      `private memory, ${among}`,
      mb(many.private),
      mb(goMany.private),
      "≤ 1.2 MB",
      many.private * 1024 <= 1.2e6,
    ),
    row(`PSS, ${among}`, mb(many.pss), mb(goMany.pss), "≤ 1.3 MB", many.pss * 1024 <= 1.3e6),
  ];
}

async function timeRows(sides: Sides): Promise<Row[]> {
  const run = await runTime(sides, size.runs);
  const output = await outputTime(sides, size.output, size.outputMiB);
  const grown = Math.max(0, output.grownKiB);
  return [
    row(`\`ctr run --rm … true\`, median of ${size.runs}`, ratio(run), "1", "≤ 0.9", run <= 0.9),
    row(
      `\`dd\` of ${size.outputMiB} MiB to ctr's stdout, median of ${size.output}`,
      ratio(output.ratio),
      "1",
      "≤ 0.8",
      output.ratio <= 0.8,
    ),
    row("growth of the shim's RSS during it", mb(grown), "", "none (≤ 0.1 MB)", grown * 1024 <= 1e5),
  ];
}

const ratio = (value: number): string => `${value.toFixed(2)} ×`;

function row(what: string, ours: string, go: string, goal: string, met: boolean): Row {
  return { what, ours, go, goal, met };
}

function table(rows: readonly Row[]): string {
  const lines = rows.map(
    (each) => `| ${each.what} | ${each.ours} | ${each.go} | ${each.goal} | ${each.met ? "yes" : "**no**"} |`,
  );
  return ["| | Holdfast | Go shim | goal | met |", "|---|---|---|---|---|", ...lines].join("\n");
}

const sides: Sides = [
  await Daemon.start({ runtime: OUR_RUNTIME }),
  await Daemon.start({ runtime: GO_RUNTIME }),
];
try {
  const rows = [...(await memoryRows(sides)), ...(await timeRows(sides))];
  const report = `# Holdfast beside the Go shim\n\nMade by \`npm run bench\`. Times are ratios to the Go shim in the same run.\n\n${await machine()}\n\n${table(rows)}\n`;
  console.log(report);
  if (!short) writeFileSync(join(import.meta.dirname, "RESULTS.md"), report);
  process.exitCode = rows.every(({ met }) => met) ? 0 : 1;
} finally {
  for (const daemon of sides) await daemon.close();
}
