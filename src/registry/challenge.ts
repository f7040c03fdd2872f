// What a registry wants of who asks: its WWW-Authenticate headers (RFC 7235), read into challenges.

export interface Challenge {
  /** In lower case: "basic", "bearer". */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+/;
/** More than any registry sends. */
const MAX_LENGTH = 8192;

/** Every challenge of the headers; what is malformed ends the reading of its header. */
export function parseChallenges(headers: readonly string[]): Challenge[] {
  return headers.flatMap((header) => parseHeader(header.slice(0, MAX_LENGTH)));
}

function parseHeader(header: string): Challenge[] {
  const found: { scheme: string; parameters: Record<string, string> }[] = [];
  let rest = header.trimStart();
  while (rest !== "") {
    const word = TOKEN.exec(rest)?.[0];
    if (word === undefined) break;
    const after = rest.slice(word.length).trimStart();
    if (after.startsWith("=") && found.length > 0) {
      const { value, next } = readValue(after.slice(1).trimStart());
      if (value === undefined) break;
      const parameters = found.at(-1)?.parameters;
      if (parameters !== undefined) parameters[word.toLowerCase()] = value;
      rest = next;
    } else {
      found.push({ scheme: word.toLowerCase(), parameters: {} });
      rest = after;
    }
    rest = rest.replace(/^[\s,]+/, "");
  }
  return found;
}

function readValue(text: string): { value: string | undefined; next: string } {
  if (!text.startsWith('"')) {
    const value = TOKEN.exec(text)?.[0];
    return { value, next: text.slice(value?.length ?? 0) };
  }
  let value = "";
  for (let at = 1; at < text.length; at++) {
    const character = text[at] ?? "";
    if (character === '"') return { value, next: text.slice(at + 1) };
    if (character === "\\") value += text[++at] ?? "";
    else value += character;
  }
  return { value: undefined, next: "" };
}
