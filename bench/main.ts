// npm run bench: ours beside containerd and the Go shim, in the same minutes on the same machine. Prints a table and writes it to bench/RESULTS.md.
// `npm run bench -- manager` measures a part, and leaves the others as they are there; `--short` takes smaller samples, to try the bench itself, and writes nothing.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Daemon } from "../test/harness/daemon.ts";
import { memoryOf } from "../test/harness/processes.ts";
import { GO_RUNTIME, OUR_RUNTIME } from "../test/harness/runtime.ts";
import { commandTimes } from "./commands.ts";
import { importTime, largeStore, makeArchive } from "./images.ts";
import { machine } from "./machine.ts";
import { amongContainers, comeback, lifeTimes, rssOverLives } from "./manager.ts";
import { type Sides, shimMemory } from "./memory.ts";
import { pullFigures } from "./pulls.ts";
import { keeperCost, recovery } from "./recovery.ts";
import { outputTime, runTime } from "./time.ts";

const PARTS = ["shim", "manager", "images"] as const;
const short = process.argv.includes("--short");
const chosen = PARTS.filter((part) => process.argv.includes(part));
const parts = chosen.length === 0 ? PARTS : chosen;
const size = short
  ? {
      shims: 10,
      recoveries: 5,
      kept: 5,
      runs: 5,
      output: 1,
      outputMiB: 256,
      lives: 10,
      containers: 20,
      lifetime: 200,
      imports: 1,
      commands: 5,
      files: 5000,
      images: 50,
    }
  : {
      shims: 60,
      recoveries: 50,
      kept: 400,
      runs: 20,
      output: 5,
      outputMiB: 4096,
      lives: 40,
      containers: 100,
      lifetime: 5000,
      imports: 3,
      commands: 20,
      files: 50_000,
      images: 1000,
    };

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
    row(
      "RSS of one shim with its keeper, idle for 5 s",
      mb(ours.rss),
      mb(go.rss),
      "≤ 3.0 MB",
      ours.rss * 1024 <= 3.0e6,
    ),
    row("its threads", `${ours.threads}`, `${go.threads}`, "1", ours.threads === 1),
    row(
      `private memory, ${among}`,
      mb(many.private),
      mb(goMany.private),
      "≤ 1.05 MB",
      many.private * 1024 <= 1.05e6,
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
  return ["| | Holdfast | containerd, Go shim | goal | met |", "|---|---|---|---|---|", ...lines].join("\n");
}

async function shimReport(): Promise<Row[]> {
  const sides: Sides = [
    await Daemon.start({ runtime: OUR_RUNTIME }),
    await Daemon.start({ runtime: GO_RUNTIME }),
  ];
  try {
    return [...(await memoryRows(sides)), ...(await timeRows(sides)), ...(await recoveryRows())];
  } finally {
    for (const daemon of sides) await daemon.close();
  }
}

async function recoveryRows(): Promise<Row[]> {
  const { killed, upgraded, count } = await recovery(size.recoveries);
  const cost = await keeperCost(size.kept);
  return [
    row(
      `SIGKILL of a shim to its next answer, median of ${count}`,
      `${killed.toFixed(1)} ms`,
      "never",
      "≤ 15 ms",
      killed <= 15,
    ),
    row(
      `upgrade of a running shim, median of ${count}`,
      `${upgraded.toFixed(1)} ms`,
      "",
      "≤ 20 ms",
      upgraded <= 20,
    ),
    row(
      `what the keeper adds to a life, first quartiles of ${size.kept}`,
      `${cost.toFixed(2)} ms`,
      "",
      "≤ 0.5 ms",
      cost <= 0.5,
    ),
  ];
}

async function managerReport(): Promise<Row[]> {
  const sides: Sides = [
    await Daemon.start({ kind: "holdfastd", runtime: OUR_RUNTIME, logLevel: "info" }),
    await Daemon.start({ kind: "containerd", runtime: GO_RUNTIME, logLevel: "info" }),
  ];
  try {
    return [...(await lifeRows(sides)), ...(await comebackRows(sides[0])), ...(await livesRows(sides[0]))];
  } finally {
    for (const daemon of sides) await daemon.close();
  }
}

/** Of the image that is pulled; blobs of each image of the large store. */
const PULLED = { layers: 12, bytes: 200e6 };
const BLOBS = 10;
const MAX_RSS = 150e6;

async function imagesReport(): Promise<Row[]> {
  const sides: Sides = [
    await Daemon.start({ kind: "holdfastd", runtime: OUR_RUNTIME, logLevel: "info" }),
    await Daemon.start({ kind: "containerd", runtime: GO_RUNTIME, logLevel: "info" }),
  ];
  try {
    return [
      ...(await pullRows(sides)),
      ...(await importRows(sides)),
      ...(await commandRows(sides)),
      ...(await storeRows(sides[0])),
    ];
  } finally {
    for (const daemon of sides) await daemon.close();
  }
}

async function pullRows(sides: Sides): Promise<Row[]> {
  const { ours, same, peaks } = await pullFigures(sides, { ...PULLED, count: size.imports });
  const [many, one] = peaks.map((kib) => kib * 1024) as [number, number];
  const image = `${PULLED.bytes / 1e6} MB in ${PULLED.layers} layers`;
  return [
    row(`\`holdfast pull\` of ${image}, unpacked`, ratio(ours), "1", "≤ 1.0", ours <= 1),
    row("the same by `ctr images pull`", ratio(same), "1", "≤ 1.0", same <= 1),
    row("daemon and unpackers meanwhile, RSS", mb(many / 1024), "", "≤ 150 MB", many <= MAX_RSS),
    row(
      "the same where all is one layer",
      mb(one / 1024),
      "",
      "no more",
      one <= many * 1.1 && one <= MAX_RSS,
    ),
  ];
}

async function importRows(sides: Sides): Promise<Row[]> {
  const small = await makeArchive(sides[0].directory, "small", { layers: 1, files: size.files, bytes: 100 });
  const many = await importTime(sides, small, size.imports);
  return [row(`import of ${size.files} small files, unpacked`, ratio(many), "1", "≤ 1.2", many <= 1.2)];
}

async function commandRows(sides: Sides): Promise<Row[]> {
  const { run, help, ps } = await commandTimes(sides, size.commands, size.containers);
  const ms = (value: number): string => `${value.toFixed(0)} ms`;
  const toCtr = run.holdfast / run.ctr;
  const toDocker = run.holdfast / run.docker;
  return [
    row("`holdfast run --rm IMAGE true` ÷ `ctr run`", ratio(toCtr), ms(run.ctr), "≤ 1.2", toCtr <= 1.2),
    row("the same ÷ `docker run`", ratio(toDocker), ms(run.docker), "≤ 0.6", toDocker <= 0.6),
    row("`holdfast --help`", ms(help.holdfast), "", "≤ 60 ms", help.holdfast <= 60),
    row(
      "the same ÷ `docker --help`",
      ratio(help.holdfast / help.docker),
      ms(help.docker),
      "≤ 1.5",
      help.holdfast <= 1.5 * help.docker,
    ),
    row(`\`holdfast ps\` of ${size.containers}`, ms(ps.holdfast), "", "≤ 120 ms", ps.holdfast <= 120),
    row(
      "the same ÷ `docker ps`",
      ratio(ps.holdfast / ps.docker),
      ms(ps.docker),
      "≤ 1.5",
      ps.holdfast <= 1.5 * ps.docker,
    ),
  ];
}

async function storeRows(daemon: Daemon): Promise<Row[]> {
  const { list, shown, collect, start } = await largeStore(daemon, size.images, BLOBS);
  const ms = (value: number): string => `${value.toFixed(0)} ms`;
  return [
    row(
      `list of ${size.images} images with ${size.images * BLOBS} blobs`,
      ms(list),
      "",
      "≤ 200 ms",
      list <= 200,
    ),
    row("`holdfast images` there", ms(shown), "", "≤ 200 ms", shown <= 200),
    row("collection there", ms(collect), "", "≤ 2000 ms", collect <= 2000),
    row("holdfastd's start there ÷ without images", ratio(start), "", "≤ 1.1", start <= 1.1),
  ];
}

async function lifeRows(sides: Sides): Promise<Row[]> {
  const { one, several } = await lifeTimes(sides, size.lives);
  return [
    row(`a life of \`true\` by the API, median of ${size.lives}`, ratio(one), "1", "≤ 1.0", one <= 1),
    row("the same, 8 at a time", ratio(several), "1", "≤ 1.0", several <= 1),
  ];
}

async function comebackRows(daemon: Daemon): Promise<Row[]> {
  const count = size.containers;
  return amongContainers(daemon, count, async ([first = ""]) => {
    const whole = await comeback(daemon, count);
    const { rss } = memoryOf(daemon.pid);
    const stuck = await daemon.shimPid(first);
    process.kill(stuck, "SIGSTOP");
    const rest = await comeback(daemon, count).finally(() => process.kill(stuck, "SIGCONT"));
    return [
      row(
        `holdfastd killed among ${count} containers: from its start to a list of all`,
        `${whole.ms.toFixed(0)} ms`,
        "",
        "≤ 1000 ms",
        whole.ms <= 1000 && whole.running === count,
      ),
      row(
        "the same with one shim stopped by SIGSTOP, the rest complete",
        `${rest.ms.toFixed(0)} ms`,
        "",
        "≤ 2000 ms",
        rest.ms <= 2000 && rest.running === count - 1,
      ),
      row(`holdfastd's RSS with ${count} containers`, mb(rss), "", "≤ 120 MB", rss * 1024 <= 120e6),
    ];
  });
}

async function livesRows(daemon: Daemon): Promise<Row[]> {
  const stops = [0.1, 0.5, 1].map((part) => part * size.lifetime);
  const seen = await rssOverLives(daemon, stops);
  const [first = 0, , last = 0] = seen;
  return [
    row(
      `its RSS after ${stops.join(", ")} container lives`,
      seen.map(mb).join(", "),
      "",
      "flat (≤ 10 % up)",
      last <= first * 1.1,
    ),
  ];
}

const REPORTS = { shim: shimReport, manager: managerReport, images: imagesReport } as const;
const TITLES = { shim: "Shims", manager: "holdfastd", images: "Images, and what people type" } as const;

const RESULTS = join(import.meta.dirname, "RESULTS.md");
const PREAMBLE =
  "# Holdfast beside containerd and the Go shim\n\nMade by `npm run bench`. Times with × are ratios to containerd with the Go shim, or to what the row names, in the same run.\n";

/** What an earlier run has said of a part; "" if none has. */
function earlier(title: string): string {
  const text = existsSync(RESULTS) ? readFileSync(RESULTS, "utf8") : "";
  const found = text.split(/^(?=## )/m).find((section) => section.startsWith(`## ${title}\n`));
  return found === undefined ? "" : `${found.trimEnd()}\n`;
}

let areMet = true;
const sections: string[] = [];
for (const part of PARTS) {
  if (!parts.includes(part)) {
    sections.push(earlier(TITLES[part]));
    continue;
  }
  const rows = await REPORTS[part]();
  areMet &&= rows.every(({ met }) => met);
  const section = `## ${TITLES[part]}\n\n${await machine()}\n\n${table(rows)}\n`;
  console.log(section);
  sections.push(section);
}
if (!short) writeFileSync(RESULTS, [PREAMBLE, ...sections.filter((each) => each !== "")].join("\n"));
process.exitCode = areMet ? 0 : 1;
