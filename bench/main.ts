// npm run bench: ours beside containerd and the Go shim, in the same minutes on the same machine. Prints a table and writes it to bench/RESULTS.md.
// `npm run bench -- manager` measures a part; `--short` takes smaller samples, to try the bench itself: neither is written.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Daemon } from "../test/harness/daemon.ts";
import { memoryOf } from "../test/harness/processes.ts";
import { GO_RUNTIME, OUR_RUNTIME } from "../test/harness/runtime.ts";
import { importTime, largeStore, makeArchive } from "./images.ts";
import { machine } from "./machine.ts";
import { amongContainers, comeback, lifeTimes, rssOverLives } from "./manager.ts";
import { type Sides, shimMemory } from "./memory.ts";
import { recovery } from "./recovery.ts";
import { outputTime, runTime } from "./time.ts";

const PARTS = ["shim", "manager", "images"];
const short = process.argv.includes("--short");
const chosen = PARTS.filter((part) => process.argv.includes(part));
const parts = chosen.length === 0 ? PARTS : chosen;
const size = short
  ? {
      shims: 10,
      recoveries: 5,
      runs: 5,
      output: 1,
      outputMiB: 256,
      lives: 10,
      containers: 20,
      lifetime: 200,
      imports: 1,
      files: 5000,
      images: 50,
    }
  : {
      shims: 60,
      recoveries: 50,
      runs: 20,
      output: 5,
      outputMiB: 4096,
      lives: 40,
      containers: 100,
      lifetime: 5000,
      imports: 5,
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

/** Layers of the large image, and its bytes; blobs of each image of the large store. */
const LARGE = { layers: 12, mib: 200 };
const BLOBS = 10;

async function imagesReport(): Promise<Row[]> {
  const sides: Sides = [
    await Daemon.start({ kind: "holdfastd", runtime: OUR_RUNTIME, logLevel: "info" }),
    await Daemon.start({ kind: "containerd", runtime: GO_RUNTIME, logLevel: "info" }),
  ];
  try {
    const { directory } = sides[0];
    const perFile = Math.round((LARGE.mib * 2 ** 20) / LARGE.layers / 16);
    const large = await makeArchive(directory, "large", { layers: LARGE.layers, files: 16, bytes: perFile });
    const small = await makeArchive(directory, "small", { layers: 1, files: size.files, bytes: 100 });
    const whole = await importTime(sides, large, size.imports);
    const many = await importTime(sides, small, size.imports);
    const { rss } = memoryOf(sides[0].pid);
    const { list, collect } = await largeStore(sides[0], size.images, BLOBS);
    const store = `${size.images} images with ${size.images * BLOBS} blobs`;
    return [
      row(
        `import of ${LARGE.mib} MiB in ${LARGE.layers} layers, unpacked`,
        ratio(whole),
        "1",
        "≤ 1.0",
        whole <= 1,
      ),
      row(`the same of ${size.files} small files`, ratio(many), "1", "≤ 1.2", many <= 1.2),
      row("holdfastd's RSS after that", mb(rss), "", "≤ 150 MB", rss * 1024 <= 150e6),
      row(`list of ${store}`, `${list.toFixed(0)} ms`, "", "≤ 200 ms", list <= 200),
      row("collection there", `${collect.toFixed(0)} ms`, "", "≤ 2000 ms", collect <= 2000),
    ];
  } finally {
    for (const daemon of sides) await daemon.close();
  }
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

const rows = [
  ...(parts.includes("shim") ? await shimReport() : []),
  ...(parts.includes("manager") ? await managerReport() : []),
  ...(parts.includes("images") ? await imagesReport() : []),
];
const report = `# Holdfast beside containerd and the Go shim\n\nMade by \`npm run bench\`. Times with × are ratios to containerd with the Go shim in the same run.\n\n${await machine()}\n\n${table(rows)}\n`;
console.log(report);
if (!short && parts.length === PARTS.length) writeFileSync(join(import.meta.dirname, "RESULTS.md"), report);
process.exitCode = rows.every(({ met }) => met) ? 0 : 1;
