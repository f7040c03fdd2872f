// Text that others have chosen (arguments, names, paths, what a runtime says) as a terminal may get it: without characters that steer it, and
// measured in its columns. Everything that is printed for a person goes through here; screen.ts does so for the verbs.
import stringWidth from "string-width";

/** Controls (an ESC begins a terminal's commands, as U+009B does), line separators, what turns the direction of text, and what is no character. */
const UNPRINTABLE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through.
  /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufeff\ufffe\uffff]|\p{Surrogate}/gu;
/** The same beside \n and tabs, for text of several lines. */
const PLAIN = /^[\x20-\x7e]*$/;
const NAMES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function escaped(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return NAMES[character] ?? (code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u{${hex}}`);
}

/** One line: "\x1b" stands for an escape character, "\n" for the end of a line. */
export function printable(text: string): string {
  return PLAIN.test(text) ? text : text.replace(UNPRINTABLE, escaped);
}

/** The same for text that may have several lines. */
export function printableLines(text: string): string {
  return text.split("\n").map(printable).join("\n");
}

/** JSON text that a terminal may get: JSON.stringify leaves the controls above 0x7e as they are. */
export function printableJson(json: string): string {
  return json.replace(UNPRINTABLE, (character) =>
    character === "\n" || character.length > 1
      ? character
      : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Of one column each: no soft hyphen. */
const NARROW = /^[\x20-\x7e\xa0-\xac\xae-\xff]*$/;

/** The columns that printable text takes. */
export function widthOf(text: string): number {
  return NARROW.test(text) ? text.length : stringWidth(text);
}

/** Text as it is printed, and the columns that it takes. */
export interface Measured {
  readonly text: string;
  readonly width: number;
}

/** Most text is plain, and looked at once. */
export function measured(text: string): Measured {
  if (PLAIN.test(text)) return { text, width: text.length };
  const shown = printable(text);
  return { text: shown, width: widthOf(shown) };
}

/** Printable text of `columns` at most: cut at its end, which "…" shows. */
export function clip(text: string, columns: number): string {
  if (widthOf(text) <= columns) return text;
  if (PLAIN.test(text)) return `${text.slice(0, Math.max(0, columns - 1))}…`;
  let kept = "";
  let used = 1;
  for (const { segment } of new Intl.Segmenter().segment(text)) {
    used += widthOf(segment);
    if (used > columns) break;
    kept += segment;
  }
  return `${kept}…`;
}

/** Spaces behind printable text up to `columns`. */
export function padded(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - widthOf(text)));
}

/** A word as a shell takes it. */
export function shellWord(word: string): string {
  if (/^[\w%+,./:=@-]+$/.test(word)) return word;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a word with these needs the shell's own escapes.
  if (!/[\0-\x1f\x7f]/.test(word)) return `'${word.replaceAll("'", "'\\''")}'`;
  return `$'${printable(word.replace(/[\\']/g, "\\$&"))}'`;
}
