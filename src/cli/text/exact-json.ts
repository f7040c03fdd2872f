// JSON whose numbers keep every digit: an OCI spec has 64-bit ones (a limit of 2^64 - 1 means none), which JavaScript's own number rounds.
import { randomBytes } from "node:crypto";

/** A string that no document can be expected to have, so that a number in its place is known again. */
let mark: string | undefined;

function theMark(): string {
  mark ??= `number-${randomBytes(12).toString("hex")}:`;
  return mark;
}

/** Strings, to step over them, and numbers. */
const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Where a number may stand, one that may change: of many digits, with a fraction or an exponent, or -0. Most documents have none, in strings neither. */
const SUSPECT = /(?:^|[:,[\s])(?:-0|-?\d{16}|-?\d+[.eE])/;

/** A number that JavaScript's own cannot hold or would write in another way, such as 1.10: kept as it was written. */
export class ExactNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** Integers beyond 2^53 become bigints, other numbers that would change ExactNumbers. Throws SyntaxError like JSON.parse. */
export function parseExact(text: string): unknown {
  if (!SUSPECT.test(text)) return JSON.parse(text);
  let isPlain = true;
  const marked = text.replace(TOKEN, (token) => {
    if (token.startsWith('"') || String(Number(token)) === token) return token;
    isPlain = false;
    return `"${theMark()}${token}"`;
  });
  // What is no JSON is to be complained of as it is.
  if (isPlain) return JSON.parse(text);
  JSON.parse(text);
  return JSON.parse(marked, (_key, value: unknown) =>
    typeof value === "string" && value.startsWith(theMark())
      ? exactNumber(value.slice(theMark().length))
      : value,
  );
}

/** The opposite; bigints are numbers, and bytes base64. */
export function stringifyExact(value: unknown, indent?: number): string {
  const text = JSON.stringify(value, (_key, each: unknown) => marked(each), indent) ?? "null";
  return mark === undefined ? text : text.replace(new RegExp(`"${mark}([^"]*)"`, "g"), "$1");
}

function exactNumber(text: string): bigint | ExactNumber {
  return /^-?\d+$/.test(text) && text !== "-0" ? BigInt(text) : new ExactNumber(text);
}

function marked(value: unknown): unknown {
  if (typeof value === "bigint") return `${theMark()}${value}`;
  if (value instanceof ExactNumber) return `${theMark()}${value.text}`;
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  return value;
}
