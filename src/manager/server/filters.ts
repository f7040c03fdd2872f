// containerd's filter syntax (its filters/): `name==value,labels."a.b"~=/re/,image` is a list of selectors that must all hold.
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { compilePattern, type Pattern } from "./pattern.ts";

/** The value of a field by its path; undefined if there is none. */
export type Fields = (path: readonly string[]) => string | undefined;
export type Filter = (fields: Fields) => boolean;

/** A filter that holds where one of `filters` does; without any it always holds. Throws INVALID_ARGUMENT, which shows the filter and the place. */
export function parseFilters(filters: readonly string[]): Filter {
  if (filters.length === 0) return () => true;
  const parsed = filters.map((filter) => (filter === "" ? () => true : new FilterParser(filter).parse()));
  return (fields) => parsed.some((filter) => filter(fields));
}

const QUOTES = '"/|';
const NAME = /[A-Za-z0-9_]+/y;
const OPERATOR = /[=!~]+/y;
/** What a value without quotes goes on with, behind its first character. */
const VALUE_REST = /(?:(?!,)[\p{L}\p{M}\p{N}\p{P}\p{S}])*/uy;
const SPACE = /\p{White_Space}*/uy;

const ESCAPES: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
};
/** Digits of the escapes that give a byte (x) or a character (u, U) in hexadecimal. */
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
const MAX_BYTE = 0xff;
const MAX_CHARACTER = 0x10ffff;

/** The grammar of containerd's parser.go and scanner.go. Space may stand before a name, an operator or a value, and nowhere else. */
class FilterParser {
  readonly #input: string;
  #at = 0;

  constructor(input: string) {
    this.#input = input;
  }

  parse(): Filter {
    const selectors = [this.#selector()];
    while (this.#at < this.#input.length) {
      if (this.#next !== ",") this.#refuse(this.#at, `unexpected input: ${this.#next}`);
      this.#at += 1;
      selectors.push(this.#selector());
    }
    return (fields) => selectors.every((selector) => selector(fields));
  }

  /** The character (not the code unit) that is next; empty at the end. */
  get #next(): string {
    const code = this.#input.codePointAt(this.#at);
    return code === undefined ? "" : String.fromCodePoint(code);
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#input)?.[0] ?? "";
    this.#at += text.length;
    return text;
  }

  #selector(): Filter {
    const path = [this.#field()];
    while (this.#next === ".") {
      this.#at += 1;
      path.push(this.#field());
    }
    if (this.#next === "" || this.#next === ",") return (fields) => fields(path) !== undefined;
    const operator = this.#operator();
    const start = this.#at;
    const value = this.#value(operator === "~=");
    switch (operator) {
      case "==":
        return (fields) => fields(path) === value;
      // Where there is no such field, these two see an empty one.
      case "!=":
        return (fields) => (fields(path) ?? "") !== value;
      case "~=": {
        const pattern = this.#pattern(start, value);
        return (fields) => pattern.test(fields(path) ?? "");
      }
    }
  }

  #field(): string {
    this.#skipSpace();
    const start = this.#at;
    if (this.#atQuote()) return this.#quoted('"');
    return this.#take(NAME) || this.#refuse(start, "expected field or quoted");
  }

  #operator(): "==" | "!=" | "~=" {
    this.#skipSpace();
    const start = this.#at;
    const operator = this.#take(OPERATOR);
    if (operator === "==" || operator === "!=" || operator === "~=") return operator;
    if (operator !== "") this.#refuse(start, `unsupported operator ${JSON.stringify(operator)}`);
    // A label with a slash in its name that should have been quoted: say what is wrong with it, if more than its place is.
    if (this.#atQuote()) this.#quoted(QUOTES);
    return this.#refuse(start, 'expected an operator ("=="|"!="|"~=")');
  }

  /** Regular expressions may stand between slashes and bars as well. */
  #value(isPattern: boolean): string {
    this.#skipSpace();
    if (this.#atQuote()) return this.#quoted(isPattern ? QUOTES : '"');
    const first = this.#next;
    if (first === "" || ",.=!~".includes(first)) this.#refuse(this.#at, "expected value or quoted");
    this.#at += first.length;
    return first + this.#take(VALUE_REST);
  }

  #pattern(start: number, source: string): Pattern {
    try {
      return compilePattern(source);
    } catch (error) {
      return this.#refuse(start, error instanceof Error ? error.message : String(error));
    }
  }

  /** Space, and a look at what no filter may have. */
  #skipSpace(): void {
    this.#take(SPACE);
    this.#demandLegal(this.#at);
  }

  #demandLegal(place: number): void {
    if (this.#next === "\0") this.#refuse(place, "unexpected null");
    // What bytes that are not UTF-8 have become.
    if (this.#next === "\ufffd") this.#refuse(place, "rune error");
  }

  #atQuote(): boolean {
    return this.#next !== "" && QUOTES.includes(this.#next);
  }

  /** A Go string between two of the same quotes, which must be one of `allowed`. Escapes may give single bytes, hence the Buffer. */
  #quoted(allowed: string): string {
    const start = this.#at;
    const quote = this.#next;
    const parts: Buffer[] = [];
    this.#at += 1;
    while (this.#next !== quote) {
      this.#demandLegal(start);
      if (this.#next === "" || this.#next === "\n") this.#refuse(start, "quoted literal not terminated");
      const character = this.#next;
      this.#at += character.length;
      parts.push(character === "\\" ? this.#escape(start, quote) : Buffer.from(character));
    }
    this.#at += 1;
    if (!allowed.includes(quote)) this.#refuse(start, "invalid quote encountered");
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Buffer.concat(parts));
    } catch {
      return this.#refuse(start, "unquoting failed: its bytes are not UTF-8");
    }
  }

  /** What follows a backslash, as in Go. */
  #escape(start: number, quote: string): Buffer {
    const letter = this.#next;
    if (/[0-7]/.test(letter)) return Buffer.from([this.#digits(start, 3, 8, MAX_BYTE)]);
    this.#at += letter.length;
    const plain = letter === quote ? quote : ESCAPES[letter];
    if (plain !== undefined) return Buffer.from(plain);
    const digits = HEX_DIGITS[letter];
    if (digits === undefined) return this.#refuse(start, "illegal escape sequence");
    if (letter === "x") return Buffer.from([this.#digits(start, digits, 16, MAX_BYTE)]);
    // Half a surrogate pair becomes U+FFFD, here as there.
    return Buffer.from(String.fromCodePoint(this.#digits(start, digits, 16, MAX_CHARACTER)));
  }

  #digits(start: number, count: number, base: 8 | 16, max: number): number {
    const digits = this.#input.slice(this.#at, this.#at + count);
    if (digits.length < count || !(base === 8 ? /^[0-7]+$/ : /^[0-9a-fA-F]+$/).test(digits))
      this.#refuse(start, "illegal numeric escape sequence");
    const value = Number.parseInt(digits, base);
    if (value > max) this.#refuse(start, "unquoting failed: quote syntax error");
    this.#at += count;
    return value;
  }

  #refuse(place: number, reason: string): never {
    const before = this.#input.slice(0, place);
    const [here = "", ...after] = this.#input.slice(place);
    const shown = here === "" ? `[${before}]` : `[${before} >|${here}|< ${after.join("")}]`;
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      `filters: parse error: ${shown}: ${reason}: invalid argument`,
    );
  }
}
