// Where verbs print: tables for people, JSON for programs, colours on a terminal only. One is made in program.ts and passed to every verb.
import Table from "cli-table3";
import picocolors from "picocolors";
import { stringifyExact } from "./exact-json.ts";

export type Colors = ReturnType<typeof picocolors.createColors>;

export interface ScreenOptions {
  readonly json: boolean;
  readonly quiet?: boolean;
}

export class Screen {
  readonly json: boolean;
  readonly colors: Colors;

  constructor(json: boolean) {
    this.json = json;
    const wanted = process.stdout.isTTY === true && process.env.NO_COLOR === undefined && !json;
    this.colors = picocolors.createColors(wanted);
  }

  line(text = ""): void {
    process.stdout.write(`${text}\n`);
  }

  /** For people, beside what is asked for: goes to stderr. */
  note(text: string): void {
    process.stderr.write(`holdfast: ${text}\n`);
  }

  /** One JSON value on a line of its own; several make JSON Lines. */
  value(value: unknown): void {
    this.line(stringifyExact(value));
  }

  /** One JSON value, indented: for what is read as a whole. */
  document(value: unknown): void {
    this.line(stringifyExact(value, 2));
  }

  /** Columns in line, without frames. */
  table(head: readonly string[], rows: readonly (readonly string[])[]): void {
    this.line(renderTable(head, rows, this.colors));
  }

  /** "name: value" lines with the values in a column; entries without a value are left out. */
  fields(entries: readonly (readonly [name: string, value: string | undefined])[]): void {
    const shown = entries.filter(([, value]) => value !== undefined && value !== "");
    const width = Math.max(0, ...shown.map(([name]) => name.length));
    for (const [name, value] of shown) {
      this.line(`${this.colors.dim(name.padEnd(width))}  ${value}`);
    }
  }
}

const NO_FRAME = Object.fromEntries(
  [
    "top",
    "top-mid",
    "top-left",
    "top-right",
    "bottom",
    "bottom-mid",
    "bottom-left",
    "bottom-right",
    "left",
    "left-mid",
    "mid",
    "mid-mid",
    "right",
    "right-mid",
  ].map((part) => [part, ""]),
);

export function renderTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  colors: Colors,
): string {
  const table = new Table({
    chars: { ...NO_FRAME, middle: "  " },
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  table.push(
    head.map((title) => colors.bold(title)),
    ...rows.map((row) => [...row]),
  );
  // The last column is padded too: no trailing spaces for whoever copies a line.
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
