// Where verbs print: tables for people, JSON for programs, colours on a terminal only. settingsOf makes one for every verb. Nothing that is printed
// for a person can steer a terminal: see printable.ts.
import { type Colors, coloured, colouredWidth, createColors } from "./colors.ts";
import { stringifyExact } from "./exact-json.ts";
import { printableJson, printableLines } from "./printable.ts";
import { renderTable } from "./table.ts";

/** Whether what goes wrong is said in JSON: as the verb that runs was asked to print. */
let jsonErrors = false;

export class Screen {
  readonly json: boolean;
  readonly colors: Colors;

  constructor(json: boolean) {
    this.json = json;
    jsonErrors = json;
    const { NO_COLOR: no = "", TERM: terminal } = process.env;
    this.colors = createColors(process.stdout.isTTY === true && no === "" && terminal !== "dumb" && !json);
  }

  line(text = ""): void {
    process.stdout.write(`${coloured(text)}\n`);
  }

  /** For people, beside what is asked for: goes to stderr. */
  note(text: string): void {
    say("note", text);
  }

  /** One JSON value on a line of its own; several make JSON Lines. */
  value(value: unknown): void {
    process.stdout.write(`${printableJson(stringifyExact(value))}\n`);
  }

  /** One JSON value, indented: for what is read as a whole. */
  document(value: unknown): void {
    process.stdout.write(`${printableJson(stringifyExact(value, 2))}\n`);
  }

  /** Of what has been done to a container. */
  id(id: string): void {
    if (this.json) this.value({ id });
    else this.line(id);
  }

  /** Columns in line, without frames; cut to the width of a terminal. */
  table(head: readonly string[], rows: readonly (readonly string[])[]): void {
    // 0 is a terminal that does not know.
    process.stdout.write(`${renderTable(head, rows, this.colors, process.stdout.columns || undefined)}\n`);
  }

  /** "name: value" lines with the values in a column; entries without a value are left out. */
  fields(entries: readonly (readonly [name: string, value: string | undefined])[]): void {
    const shown = entries.filter(([, value]) => value !== undefined && value !== "");
    const width = Math.max(0, ...shown.map(([name]) => colouredWidth(name)));
    for (const [name, value] of shown) {
      this.line(`${this.colors.dim(name.padEnd(width))}  ${value}`);
    }
  }
}

/** For what goes wrong before a verb has read its flags. */
export function complainInJson(json: boolean): void {
  jsonErrors = json;
}

/** Says on stderr what goes wrong, for `id` if it is about one of several: a line for a person; for a program {"id": …, "error": …} on a line. */
export function complain(text: string, id?: string): void {
  say("error", text, id);
}

function say(kind: "error" | "note", text: string, id?: string): void {
  process.stderr.write(
    jsonErrors
      ? `${printableJson(JSON.stringify({ id, [kind]: text }))}\n`
      : `holdfast: ${printableLines(id === undefined || names(text, id) ? text : `${id}: ${text}`)}\n`,
  );
}

/** Whether a text says already that it is about `id`. */
function names(text: string, id: string): boolean {
  return (
    id === "" || text.includes(JSON.stringify(id)) || text.startsWith(`${id} `) || text.startsWith(`${id}:`)
  );
}
