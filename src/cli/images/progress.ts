// How far a transfer is, for a person: a bar for every layer on a terminal, a line for every step in a pipe.
import type { Progress } from "../../api/generated/transfer_types.ts";
import { WARNING } from "../../transfer/progress.ts";
import { printableLines, widthOf } from "../text/printable.ts";
import { bytes } from "../text/units.ts";

const BAR = 30;
const NAME = 12;
/** Between two pictures on a terminal, in ms. */
const INTERVAL_MS = 80;

export interface ProgressView {
  take(progress: Progress): void;
  /** Nothing is drawn after it. */
  end(): void;
}

/** `output` is where it goes; `isSilent` for a view that shows nothing. */
export function progressView(output: NodeJS.WriteStream, isSilent: boolean): ProgressView {
  if (isSilent) return { take: () => {}, end: () => {} };
  return output.isTTY === true && process.env.TERM !== "dumb" ? new Bars(output) : new Lines(output);
}

/** The first digits of the blob that it is about; undefined for what is about no blob. */
function blobOf({ name }: Progress): string | undefined {
  const found = /^([a-z]+)-sha256:([0-9a-f]{64})$/.exec(name);
  return found === null ? undefined : `${found[1]} ${found[2]?.slice(0, NAME)}`;
}

/** Whether people care: manifests are there in a moment. */
function isLarge({ name }: Progress): boolean {
  return name.startsWith("layer-") || name.startsWith("unknown-");
}

/** Steps that have no end of their own. */
const PASSING: readonly string[] = ["waiting", "downloading", "uploading", "extracting"];

class Lines implements ProgressView {
  readonly #output: NodeJS.WriteStream;
  readonly #last = new Map<string, string>();

  constructor(output: NodeJS.WriteStream) {
    this.#output = output;
  }

  take(progress: Progress): void {
    const { event, name } = progress;
    const blob = blobOf(progress);
    if (blob === undefined) {
      if (name === "" && event !== "") this.#output.write(`${printableLines(event)}\n`);
      return;
    }
    if (!isLarge(progress) || event === "waiting" || this.#last.get(name) === event) return;
    this.#last.set(name, event);
    const size = event === "downloading" || event === "uploading" ? ` (${bytes(progress.total)})` : "";
    this.#output.write(`${blob}: ${printableLines(event)}${size}\n`);
  }

  end(): void {}
}

class Bars implements ProgressView {
  readonly #output: NodeJS.WriteStream;
  readonly #jobs = new Map<string, Progress>();
  readonly #warnings: string[] = [];
  #status = "";
  #drawn = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(output: NodeJS.WriteStream) {
    this.#output = output;
  }

  take(progress: Progress): void {
    if (blobOf(progress) === undefined) {
      if (progress.event.startsWith(WARNING)) this.#warnings.push(printableLines(progress.event));
      else if (progress.name === "") this.#status = progress.event;
    } else if (isLarge(progress)) {
      const before = this.#jobs.get(progress.name);
      // A layer that waits again has been cut off; what it had is still there.
      if (before === undefined || progress.event !== "waiting") this.#jobs.set(progress.name, progress);
    }
    this.#timer ??= setTimeout(() => this.#draw(), INTERVAL_MS).unref();
  }

  end(): void {
    this.#draw();
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const size = this.#output.getWindowSize();
    const [columns, rows] = [size[0] || 80, size[1] || 24];
    const lines = [...this.#jobs.values()].map(barLine);
    // What does not fit above the status line is what has ended longest ago.
    const shown = [...lines.slice(Math.max(0, lines.length - (rows - 2))), printableLines(this.#status)];
    const up = this.#drawn > 0 ? `\x1b[${this.#drawn}A` : "";
    // They stay above the picture.
    const back = `${up}${this.#warnings
      .splice(0)
      .map((line) => `\r${line}\x1b[K\n`)
      .join("")}`;
    this.#output.write(`${back}\r${shown.map((line) => `${cut(line, columns - 1)}\x1b[K\n`).join("")}\x1b[J`);
    this.#drawn = shown.length;
  }
}

function cut(line: string, columns: number): string {
  return widthOf(line) <= columns ? line : [...line].slice(0, columns).join("");
}

function barLine(progress: Progress): string {
  const { event, total } = progress;
  const [, name = ""] = blobOf(progress)?.split(" ") ?? [];
  const done = PASSING.includes(event) ? progress.progress : total;
  const part = total === 0n ? 1 : Math.min(1, Number(done) / Number(total));
  const filled = Math.round(part * BAR);
  const bar = `[${"=".repeat(filled)}${filled < BAR && filled > 0 ? ">" : ""}`
    .padEnd(BAR + 1)
    .slice(0, BAR + 1);
  const figures =
    event === "downloading" || event === "uploading" ? `${bytes(done)} of ${bytes(total)}` : bytes(total);
  return `${name}  ${printableLines(event).padEnd(14)}  ${bar}]  ${figures}`;
}
