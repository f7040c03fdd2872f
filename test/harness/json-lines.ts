// Files of JSON values, one a line, to which long runs add what they have done.
import { appendFileSync, existsSync, readFileSync } from "node:fs";

/** All of them; none if there is no such file. */
export function readJsonLines<T>(file: string): T[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as T);
}

export function appendJsonLine(file: string, value: object): void {
  appendFileSync(file, `${JSON.stringify(value)}\n`);
}
