// Colours for parts of a line. They are marked in the text, and only what is printed has a terminal's own commands: so what somebody else has
// chosen can be kept from having any, wherever in the line it stands.
import { randomBytes } from "node:crypto";
import { type Measured, measured, printable, widthOf } from "./printable.ts";

export type Style = (text: string) => string;

export interface Colors {
  readonly bold: Style;
  readonly dim: Style;
  readonly red: Style;
  readonly green: Style;
  readonly yellow: Style;
  readonly cyan: Style;
}

/** Nobody else can write a mark: it is another one in every process. There are none until a colour is asked for. */
let secret: string | undefined;

function theSecret(): string {
  secret ??= randomBytes(8).toString("hex");
  return secret;
}

const PLAIN: Style = (text) => text;

function style(start: number, end: number): Style {
  const mark = (code: number): string => `\ufdd0${theSecret()}${code}\ufdd1`;
  return (text) => `${mark(start)}${text}${mark(end)}`;
}

/** Styles that do nothing unless `wanted`. */
export function createColors(wanted: boolean): Colors {
  if (!wanted) return { bold: PLAIN, dim: PLAIN, red: PLAIN, green: PLAIN, yellow: PLAIN, cyan: PLAIN };
  return {
    bold: style(1, 22),
    dim: style(2, 22),
    red: style(31, 39),
    green: style(32, 39),
    yellow: style(33, 39),
    cyan: style(36, 39),
  };
}

function hasColours(text: string): boolean {
  return secret !== undefined && text.includes("\ufdd0");
}

/** Text and codes in turn, beginning with text. */
function parts(text: string): string[] {
  if (!hasColours(text)) return [text];
  return text.split(new RegExp(`\\ufdd0${secret}(\\d+)\\ufdd1`));
}

/** A line with its colours as a terminal gets it, everything else printable. */
export function coloured(text: string): string {
  if (!hasColours(text)) return printable(text);
  return parts(text)
    .map((part, index) => (index % 2 === 0 ? printable(part) : `\x1b[${part}m`))
    .join("");
}

/** The columns that a text with colours takes. */
export function colouredWidth(text: string): number {
  if (!hasColours(text)) return widthOf(printable(text));
  return parts(text).reduce(
    (sum, part, index) => (index % 2 === 0 ? sum + widthOf(printable(part)) : sum),
    0,
  );
}

/** Both at once. */
export function colouredCell(text: string): Measured {
  return hasColours(text) ? { text: coloured(text), width: colouredWidth(text) } : measured(text);
}

/** `change` done to the text in a marked text whose colour is that of the whole; the colours of parts go. */
export function withinColour(text: string, change: (text: string) => string): string {
  const all = parts(text);
  const plain = change(printable(all.filter((_, index) => index % 2 === 0).join("")));
  const [start, end] = [all[1], all.at(-2)];
  if (all.length < 3 || start === undefined || end === undefined || all[0] !== "") return plain;
  return `\ufdd0${theSecret()}${start}\ufdd1${plain}\ufdd0${theSecret()}${end}\ufdd1`;
}
