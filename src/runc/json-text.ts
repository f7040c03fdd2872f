// Changes one member in the text of a JSON object and leaves every other byte as it is: written anew, numbers above 2^53 would come out as others
// (containers' limits are 64-bit).

/** The text of a JSON object in which the member `name` has the JSON `value`. `text` must be valid: have JSON.parse look at it before. */
export function withMember(text: string, name: string, value: string): string {
  const open = text.indexOf("{");
  let changed = "";
  let copied = 0;
  let at = skipSpace(text, open + 1);
  const isEmpty = text[at] === "}";
  while (text[at] !== "}") {
    const colon = skipSpace(text, skipString(text, at));
    const key: unknown = JSON.parse(text.slice(at, colon));
    const start = skipSpace(text, colon + 1);
    const end = skipValue(text, start);
    // Every one: which of several counts differs between parsers.
    if (key === name) {
      changed += text.slice(copied, start) + value;
      copied = end;
    }
    at = skipSpace(text, end);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  if (copied > 0) return changed + text.slice(copied);
  return `${text.slice(0, open + 1)}${JSON.stringify(name)}:${value}${isEmpty ? "" : ","}${text.slice(open + 1)}`;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (text[at] === " " || text[at] === "\n" || text[at] === "\r" || text[at] === "\t") at++;
  return at;
}

/** Where the string that begins at `from` has ended. */
function skipString(text: string, from: number): number {
  let at = from + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** Where the value that begins at `from` has ended. */
function skipValue(text: string, from: number): number {
  let depth = 0;
  let at = from;
  do {
    const character = text[at];
    if (character === "{" || character === "[") depth++;
    if (character === "}" || character === "]") depth--;
    at = character === '"' ? skipString(text, at) : at + 1;
  } while (depth > 0 || !endsValue(text[at]));
  return at;
}

function endsValue(character: string | undefined): boolean {
  return character === undefined || ",]} \n\r\t".includes(character);
}
