// `holdfast stats` and `top`: what containers use, once or live.
import { type Command, Option } from "commander";
import { nodeClock } from "../../platform/node.ts";
import { isAway } from "../containers/daemon-task.ts";
import { askFigures, cpuPercent, type Figures } from "../containers/figures.ts";
import { containerId } from "../containers/names.ts";
import { getContainer } from "../containers/record.ts";
import { RawMode } from "../session/terminal.ts";
import { terminalSize } from "../session/terminal-size.ts";
import { coloured, colouredWidth } from "../text/colors.ts";
import { Problem } from "../text/problem.ts";
import { History, sparkline } from "../text/sparkline.ts";
import { renderTable } from "../text/table.ts";
import { bytes, duration } from "../text/units.ts";
import { daemonVerb, failed, type Visit } from "./daemon-verb.ts";
import { durationArgument, examples } from "./options.ts";

const SAMPLES = 30;
const CTRL_C = 3;
/** A graph has at least so many characters. */
const MIN_GRAPH = 6;
/** What a line takes beside its id and its two graphs. */
const FIGURES_WIDTH = 66;
/** The other screen, without a cursor and with lines that end at its edge; and back. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_REST = "\x1b[J";

export function addStatsVerbs(program: Command): void {
  const stats = daemonVerb(program, "stats [id...]", "show what containers use", statsVerb).option(
    "--interval <duration>",
    "over how long the use of processors is measured",
    durationArgument,
    500,
  );
  stats.addOption(new Option("--no-stream", "as always: once (top goes on)").hideHelp());
  examples(stats, ["holdfast stats", "all containers, once"], ["holdfast stats web --json", "for a program"]);
  const top = daemonVerb(program, "top [id...]", "watch what containers use; q quits", topVerb).option(
    "--interval <duration>",
    "how often to look",
    durationArgument,
    1000,
  );
  examples(top, ["holdfast top", "all containers, with the last half minute as a graph"]);
}

async function statsVerb({ daemon, words, command, settings: { screen } }: Visit): Promise<void> {
  const { interval } = command.opts<{ interval: number }>();
  const ids = await Promise.all(words.map((word) => containerId(daemon, word)));
  const before = new Map((await askFigures(daemon, ids)).map((figures) => [figures.id, figures]));
  await sleep(before.size === 0 ? 0 : interval);
  const after = await askFigures(daemon, ids);
  for (const id of ids.filter((id) => !after.some((figures) => figures.id === id))) {
    await getContainer(daemon, id).then(
      () => failed(id, new Problem("no figures: does it run?")),
      (error: unknown) => failed(id, error),
    );
  }
  if (after.length === 0 && ids.length > 0 && !screen.json) return;
  const rows = after.map((figures) => ({ figures, cpu: percentSince(before.get(figures.id), figures) }));
  if (screen.json) {
    screen.document(
      rows.map(({ figures: { atMs: _, ...rest }, cpu }) => ({
        ...rest,
        memoryLimitBytes: rest.memoryLimitBytes ?? null,
        outputDroppedBytes: rest.outputDroppedBytes ?? null,
        outputWaitingBytes: rest.outputWaitingBytes ?? null,
        cpuPercent: cpu ?? null,
      })),
    );
    return;
  }
  // Few containers have a policy for their output.
  const withOutput = after.some(({ outputDroppedBytes }) => outputDroppedBytes !== undefined);
  screen.table(
    [
      ...["ID", "CPU", "CPU TIME", "MEMORY", "LIMIT", "PIDS", "READ", "WRITTEN"],
      ...(withOutput ? ["DROPPED", "WAITING"] : []),
    ],
    rows.map(({ figures, cpu }) => [
      figures.id,
      cpu === undefined ? "-" : `${cpu.toFixed(1)}%`,
      duration(Number(figures.cpuNs) / 1e6),
      bytes(figures.memoryBytes),
      bytes(figures.memoryLimitBytes),
      String(figures.pids),
      bytes(figures.readBytes),
      bytes(figures.writtenBytes),
      ...(withOutput
        ? [outputBytes(figures.outputDroppedBytes), outputBytes(figures.outputWaitingBytes)]
        : []),
    ]),
  );
}

function outputBytes(amount: bigint | undefined): string {
  return amount === undefined ? "-" : bytes(amount);
}

function percentSince(before: Figures | undefined, after: Figures): number | undefined {
  return before === undefined ? undefined : cpuPercent(before, after);
}

/** Also for longer than Node's own timers last. */
function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => void nodeClock.after(ms, resolve));
}

async function topVerb(visit: Visit): Promise<void> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) {
    throw new Problem('top needs a terminal; "holdfast stats" prints once');
  }
  const { interval } = visit.command.opts<{ interval: number }>();
  const ids = await Promise.all(visit.words.map((word) => containerId(visit.daemon, word)));
  const history = new Map<string, { cpu: History; memory: History; last: Figures }>();
  const raw = await RawMode.enter(LEAVE);
  process.stdout.write(ENTER);
  let quit: () => void = () => {};
  const quitting = new Promise<void>((resolve) => {
    quit = resolve;
  });
  const view: View = { from: 0, height: 1, state: "" };
  process.stdin.on("data", (keys: Buffer) => {
    if (keys.includes("q") || keys.includes("Q") || keys.includes(CTRL_C)) quit();
    view.from = Math.max(0, view.from + linesOf(keys.toString("latin1"), view.height));
    draw(visit, history, view);
  });
  const resized = (): void => draw(visit, history, view);
  process.on("SIGWINCH", resized);
  let over = false;
  void quitting.then(() => {
    over = true;
  });
  try {
    while (!over) {
      const all = await askFigures(visit.daemon, ids).catch((error: unknown) => {
        // It may be restarting.
        if (isAway(error)) return undefined;
        throw error;
      });
      for (const figures of all ?? []) note(history, figures);
      for (const id of all === undefined ? [] : history.keys()) {
        if (!all?.some((figures) => figures.id === id)) history.delete(id);
      }
      view.state = all === undefined ? "the daemon is away" : `every ${duration(interval)}`;
      draw(visit, history, view);
      await Promise.race([sleep(interval), quitting]);
    }
  } finally {
    process.off("SIGWINCH", resized);
    raw.restore();
    process.stdin.pause();
  }
}

/** What of the list is on the screen. */
interface View {
  /** The first row that is shown. */
  from: number;
  /** How many rows there is room for. */
  height: number;
  state: string;
}

/** How far keys scroll: j and k, arrows, pages, home and end. */
const KEYS: readonly (readonly [keys: string, lines: (page: number) => number])[] = [
  ["j", () => 1],
  ["k", () => -1],
  ["\x1b[B", () => 1],
  ["\x1b[A", () => -1],
  [" ", (page) => page],
  ["\x1b[6~", (page) => page],
  ["\x1b[5~", (page) => -page],
  ["g", () => Number.NEGATIVE_INFINITY],
  ["\x1b[H", () => Number.NEGATIVE_INFINITY],
  ["G", () => Number.MAX_SAFE_INTEGER],
  ["\x1b[F", () => Number.MAX_SAFE_INTEGER],
];

function linesOf(text: string, page: number): number {
  let lines = 0;
  for (let rest = text; rest !== ""; ) {
    const found = KEYS.find(([keys]) => rest.startsWith(keys));
    lines += found?.[1](page) ?? 0;
    rest = rest.slice(found?.[0].length ?? 1);
  }
  return lines;
}

type Seen = Map<string, { cpu: History; memory: History; last: Figures }>;

function note(history: Seen, figures: Figures): void {
  const seen = history.get(figures.id);
  if (seen === undefined) {
    const fresh = { cpu: new History(SAMPLES), memory: new History(SAMPLES), last: figures };
    fresh.memory.add(Number(figures.memoryBytes));
    history.set(figures.id, fresh);
    return;
  }
  seen.cpu.add(cpuPercent(seen.last, figures));
  seen.memory.add(Number(figures.memoryBytes));
  seen.last = figures;
}

/** Title, an empty line and the table's head above the rows; a line below that says how many are not shown, and the cursor's. */
const FRAME = 5;

function draw({ daemon, settings: { screen } }: Visit, history: Seen, view: View): void {
  const { colors } = screen;
  const { rows: height, columns } = terminalSize() ?? { rows: 24, columns: 80 };
  const idWidth = Math.max(2, ...[...history.keys()].map(colouredWidth));
  const graph = Math.min(SAMPLES, Math.max(MIN_GRAPH, Math.floor((columns - FIGURES_WIDTH - idWidth) / 2)));
  const rows = [...history.values()]
    .sort((a, b) => b.cpu.last - a.cpu.last || (a.last.id < b.last.id ? -1 : 1))
    .map(({ cpu, memory, last }) => [
      last.id,
      `${cpu.last.toFixed(1)}%`,
      colors.green(sparkline(cpu, 100, graph)),
      bytes(last.memoryBytes),
      colors.cyan(sparkline(memory, Number(last.memoryLimitBytes ?? 0n), graph)),
      bytes(last.memoryLimitBytes),
      String(last.pids),
      bytes(last.readBytes),
      bytes(last.writtenBytes),
    ]);
  const title = `holdfast top   ${daemon.namespace}   ${rows.length} containers   ${view.state}   q quits`;
  const head = ["ID", "CPU", "", "MEMORY", "", "LIMIT", "PIDS", "READ", "WRITTEN"];
  view.height = Math.max(1, height - FRAME);
  view.from = Math.max(0, Math.min(view.from, rows.length - view.height));
  const { from } = view;
  const table = renderTable(head, rows, colors, columns).split("\n");
  const below = Math.max(0, rows.length - from - view.height);
  const hidden = [from > 0 ? `${from} above` : "", below > 0 ? `${below} below` : ""]
    .filter(Boolean)
    .join(", ");
  const lines = [
    coloured(colors.bold(title)),
    "",
    ...table.slice(0, 1),
    ...table.slice(1 + from, 1 + from + view.height),
    ...(hidden === "" ? [] : [coloured(colors.dim(`${hidden}: arrow and page keys`))]),
  ];
  const shown = lines.slice(0, Math.max(1, height - 1));
  process.stdout.write(`${HOME}${shown.map((line) => `${line}${CLEAR_LINE}\r\n`).join("")}${CLEAR_REST}`);
}
