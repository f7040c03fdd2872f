// containerd's filter syntax (its filters/): `name==value,labels."a.b"~=re,image` is a list of selectors that must all hold. Used by all services that list.
import { Code, TtrpcError } from "../ttrpc/status.ts";

/** The value of a field by its path; undefined if there is none. */
export type Fields = (path: readonly string[]) => string | undefined;
export type Filter = (fields: Fields) => boolean;

type Operator = "present" | "==" | "!=" | "~=";

/** A filter that holds where one of `filters` does; without any it always holds. Throws INVALID_ARGUMENT, which shows the place. */
export function parseFilters(filters: readonly string[]): Filter {
  if (filters.length === 0) return () => true;
  const parsed = filters.map((filter) => (filter === "" ? () => true : new Parser(filter).parse()));
  return (fields) => parsed.some((filter) => filter(fields));
}

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
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

class Parser {
  readonly #input: string;
  #at = 0;

  constructor(input: string) {
    this.#input = input;
  }

  parse(): Filter {
    const selectors = [this.#selector()];
    while (this.#at < this.#input.length) {
      if (this.#input[this.#at] !== ",") this.#refuse("expected a comma or the end");
      this.#at += 1;
      selectors.push(this.#selector());
    }
    return (fields) => selectors.every((selector) => selector(fields));
  }

  #selector(): Filter {
    const path = [this.#field()];
    while (this.#input[this.#at] === ".") {
      this.#at += 1;
      path.push(this.#field());
    }
    const operator = this.#operator();
    if (operator === "present") return (fields) => fields(path) !== undefined;
    const value = this.#value(operator === "~=");
    switch (operator) {
      case "==":
        return (fields) => fields(path) === value;
      case "!=":
        return (fields) => fields(path) !== value;
      case "~=": {
        const pattern = this.#pattern(value);
        return (fields) => {
          const text = fields(path);
          return text !== undefined && pattern.test(text);
        };
      }
    }
  }

  #operator(): Operator {
    const rest = this.#input.slice(this.#at);
    if (rest === "" || rest.startsWith(",")) return "present";
    const operator = rest.slice(0, 2);
    if (operator !== "==" && operator !== "!=" && operator !== "~=")
      this.#refuse('expected an operator ("==", "!=" or "~=")');
    this.#at += 2;
    return operator as Operator;
  }

  #field(): string {
    const quote = this.#input[this.#at];
    if (quote === '"' || quote === "'") return this.#quoted(quote);
    const name = /^[A-Za-z_][A-Za-z0-9_]*/.exec(this.#input.slice(this.#at))?.[0];
    if (name === undefined) return this.#refuse("expected a field");
    this.#at += name.length;
    return name;
  }

  /** Regular expressions may stand between slashes and bars as well. */
  #value(isPattern: boolean): string {
    const quote = this.#input[this.#at] ?? "";
    if (quote === '"' || quote === "'" || (isPattern && (quote === "/" || quote === "|")))
      return this.#quoted(quote);
    const value = /^[^\s,]+/.exec(this.#input.slice(this.#at))?.[0];
    if (value === undefined) return this.#refuse("expected a value");
    this.#at += value.length;
    return value;
  }

  #quoted(quote: string): string {
    const start = this.#at;
    let text = "";
    for (this.#at += 1; this.#input[this.#at] !== quote; ) {
      const character = String.fromCodePoint(this.#input.codePointAt(this.#at) ?? 0);
      if (this.#at >= this.#input.length || character === "\n") {
        this.#at = start;
        this.#refuse("quoted text does not end");
      }
      text += character === "\\" ? this.#escape(quote) : character;
      if (character !== "\\") this.#at += character.length;
    }
    this.#at += 1;
    return text;
  }

  /** What follows a backslash, as in Go; in a regular expression between slashes or bars all but the quote stays as it is. */
  #escape(quote: string): string {
    const next = this.#input[this.#at + 1] ?? "";
    if (next === quote) {
      this.#at += 2;
      return quote;
    }
    if (quote === "/" || quote === "|") {
      this.#at += 2;
      return `\\${next}`;
    }
    const plain = ESCAPES[next];
    if (plain !== undefined) {
      this.#at += 2;
      return plain;
    }
    const octal = /^[0-7]{3}/.exec(this.#input.slice(this.#at + 1))?.[0];
    const digits = HEX_DIGITS[next] ?? 0;
    const hex = this.#input.slice(this.#at + 2, this.#at + 2 + digits);
    if (octal === undefined && (digits === 0 || hex.length < digits || !/^[0-9a-fA-F]+$/.test(hex)))
      this.#refuse("unknown escape");
    const code = octal === undefined ? Number.parseInt(hex, 16) : Number.parseInt(octal, 8);
    if (code > 0x10ffff) this.#refuse("no such character");
    this.#at += octal === undefined ? 2 + digits : 1 + octal.length;
    return String.fromCodePoint(code);
  }

  /** Go's syntax where it differs and is used: flags in front, and named groups. */
  #pattern(source: string): RegExp {
    const [, flags = "", rest = source] = /^\(\?([ims]+)\)(.*)$/s.exec(source) ?? [];
    try {
      return new RegExp(rest.replaceAll("(?P<", "(?<").replaceAll("\\A", "^").replaceAll("\\z", "$"), flags);
    } catch (error) {
      return this.#refuse(error instanceof Error ? error.message : String(error));
    }
  }

  #refuse(reason: string): never {
    const before = this.#input.slice(0, this.#at);
    const here = this.#input.slice(this.#at, this.#at + 1);
    const after = this.#input.slice(this.#at + 1);
    const shown = here === "" ? `[${before}]` : `[${before} >|${here}|< ${after}]`;
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      `filters: parse error: ${shown}: ${reason}: invalid argument`,
    );
  }
}
