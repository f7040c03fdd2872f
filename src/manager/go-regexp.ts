// Go's regular expressions (RE2, https://github.com/google/re2/wiki/Syntax) as JavaScript's. What clients write in filters was written for Go. Used by
// filters.ts.

const SPACES = "\\t\\n\\f\\r ";
const NO_SPACES = "\\0-\\x08\\x0b\\x0e-\\x1f!-\\u{10ffff}";
const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  ascii: "\\0-\\x7f",
  blank: "\\t ",
  cntrl: "\\0-\\x1f\\x7f",
  digit: "0-9",
  graph: "!-~",
  lower: "a-z",
  print: " -~",
  punct: "!-\\/:-@\\[-`\\{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};
/** Letters that stand for one character after a backslash. */
const CONTROLS: Readonly<Record<string, number>> = { a: 7, f: 12, t: 9, n: 10, r: 13, v: 11 };

interface Flags {
  /** `.` takes newlines as well. */
  readonly s: boolean;
  /** `^` and `$` take the ends of lines as well. */
  readonly m: boolean;
}

/** Tells of the same texts whether they match (not where). Throws an Error for what Go refuses, and for flags that JavaScript has no counterpart of. */
export function compileGoRegexp(source: string): RegExp {
  return new Translator(source).compile();
}

class Translator {
  readonly #source: string;
  #at = 0;
  #flags: Flags = { s: false, m: false };
  #ignoresCase = false;

  constructor(source: string) {
    this.#source = source;
  }

  compile(): RegExp {
    let output = "";
    /** Flags hold until their group ends. */
    const outer: Flags[] = [];
    while (this.#at < this.#source.length) {
      if (this.#takes("(")) {
        outer.push(this.#flags);
        output += this.#group(outer, output === "");
      } else if (this.#takes(")")) {
        const flags = outer.pop();
        if (flags === undefined) return this.#refuse("unexpected )");
        this.#flags = flags;
        output += ")";
      } else {
        output += this.#piece();
      }
    }
    if (outer.length > 0) this.#refuse("missing )");
    try {
      return new RegExp(output, this.#ignoresCase ? "iu" : "u");
    } catch (error) {
      return this.#refuse(error instanceof Error ? error.message.replace(/^.*: /s, "") : String(error));
    }
  }

  #takes(text: string): boolean {
    const takes = this.#source.startsWith(text, this.#at);
    if (takes) this.#at += text.length;
    return takes;
  }

  #matches(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.#at;
    const match = pattern.exec(this.#source);
    if (match !== null) this.#at += match[0].length;
    return match;
  }

  /** What stands behind a parenthesis that opens. */
  #group(outer: Flags[], isFirst: boolean): string {
    if (!this.#takes("?")) return "(";
    const name = this.#matches(/P?<(\w+)>/y)?.[1];
    if (name !== undefined) return `(?<${name}>`;
    const flags = this.#matches(/([imsU]*)(?:-([imsU]+))?([:)])/y);
    if (flags === null) return this.#refuse("unknown kind of group");
    const [, on = "", off = "", end] = flags;
    const isWhole = end === ")" && outer.length === 1 && isFirst;
    if (on.includes("i")) {
      if (!isWhole) this.#refuse("the flag i can only stand at the start, for all of it");
      this.#ignoresCase = true;
    }
    if (off.includes("i") && this.#ignoresCase) this.#refuse("the flag i cannot be taken back");
    const value = (flag: "s" | "m"): boolean =>
      on.includes(flag) || (this.#flags[flag] && !off.includes(flag));
    this.#flags = { s: value("s"), m: value("m") };
    if (end === ":") return "(?:";
    outer.pop();
    return "";
  }

  #piece(): string {
    if (this.#takes("[")) return this.#class();
    if (this.#takes("\\")) return this.#escape();
    if (this.#takes(".")) return this.#flags.s ? "[^]" : "[^\\n]";
    // JavaScript's flag m would know more kinds of newlines.
    if (this.#takes("^")) return this.#flags.m ? "(?:^|(?<=\\n))" : "^";
    if (this.#takes("$")) return this.#flags.m ? "(?:$|(?=\\n))" : "$";
    const repetition = this.#matches(/(?:[*+?]|\{\d+(?:,\d*)?\})\??/y);
    if (repetition !== null) return repetition[0];
    return this.#takes("|") ? "|" : literal(this.#character());
  }

  #character(): number {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined) return this.#refuse("it ends too soon");
    this.#at += String.fromCodePoint(code).length;
    return code;
  }

  /** An escape outside of a class. */
  #escape(): string {
    if (this.#takes("A")) return "^";
    if (this.#takes("z")) return "$";
    const boundary = this.#matches(/[bB]/y)?.[0];
    if (boundary !== undefined) return `\\${boundary}`;
    if (this.#takes("Q")) return this.#verbatim();
    const members = this.#memberClass();
    return members === undefined ? literal(this.#escapedCharacter()) : `[${members}]`;
  }

  #verbatim(): string {
    const end = this.#source.indexOf("\\E", this.#at);
    const text = this.#source.slice(this.#at, end < 0 ? undefined : end);
    this.#at += text.length + (end < 0 ? 0 : 2);
    return [...text].map((character) => literal(character.codePointAt(0) ?? 0)).join("");
  }

  /** Members of what an escape such as \d stands for; undefined if it stands for one character. */
  #memberClass(): string | undefined {
    const letter = this.#matches(/[dDwW]/y)?.[0];
    if (letter !== undefined) return `\\${letter}`;
    if (this.#takes("s")) return SPACES;
    if (this.#takes("S")) return NO_SPACES;
    const property = this.#matches(/([pP])(?:\{(\^?)(\w+)\}|([A-Z]))/y);
    if (property === null) return undefined;
    const [, kind, negation = "", long, short] = property;
    const name = long ?? short ?? "";
    const isCategory = name === "Any" || /^[A-Z][a-z]?$/.test(name);
    const isNegated = (kind === "P") !== (negation === "^");
    return `\\${isNegated ? "P" : "p"}{${isCategory ? name : `Script=${name}`}}`;
  }

  #escapedCharacter(): number {
    const hex = this.#matches(/x(?:\{([0-9A-Fa-f]{1,6})\}|([0-9A-Fa-f]{2}))/y);
    if (hex !== null) return Number.parseInt(hex[1] ?? hex[2] ?? "", 16);
    const octal = this.#matches(/0[0-7]{0,2}|[1-7][0-7]{1,2}/y)?.[0];
    if (octal !== undefined) return Number.parseInt(octal, 8);
    const code = this.#character();
    const character = String.fromCodePoint(code);
    const control = CONTROLS[character];
    if (control !== undefined) return control;
    if (code > 0x7f || /\w/.test(character)) {
      if (character !== "_") this.#refuse(`unknown escape \\${character}`);
    }
    return code;
  }

  #class(): string {
    let output = this.#takes("^") ? "[^" : "[";
    // A bracket that closes is a member where it is the first.
    for (let isFirst = true; isFirst || !this.#takes("]"); isFirst = false) {
      output += this.#posixClass() ?? this.#member();
    }
    return `${output}]`;
  }

  #posixClass(): string | undefined {
    const name = this.#matches(/\[:(\^?\w+):\]/y)?.[1];
    if (name === undefined) return undefined;
    return POSIX_CLASSES[name] ?? this.#refuse(`no such class: [:${name}:]`);
  }

  /** One character, a range, or an escape that stands for many. */
  #member(): string {
    const members = this.#source[this.#at] === "\\" ? this.#escapedMembers() : undefined;
    if (members !== undefined) return members;
    const from = this.#memberCharacter();
    if (!/-[^\]]/.test(this.#source.slice(this.#at, this.#at + 2))) return literal(from);
    this.#at += 1;
    return `${literal(from)}-${literal(this.#memberCharacter())}`;
  }

  #escapedMembers(): string | undefined {
    this.#at += 1;
    const members = this.#memberClass();
    if (members === undefined) this.#at -= 1;
    return members;
  }

  #memberCharacter(): number {
    return this.#takes("\\") ? this.#escapedCharacter() : this.#character();
  }

  #refuse(reason: string): never {
    throw new Error(`regular expression ${JSON.stringify(this.#source)}: ${reason}`);
  }
}

/** Stands for this character and nothing else, inside a class and outside. */
function literal(code: number): string {
  const character = String.fromCodePoint(code);
  return /\w/.test(character) ? character : `\\u{${code.toString(16)}}`;
}
