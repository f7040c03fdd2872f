// `--env-file`: variables from a file, a line each, as Docker reads them.
import { readFileSync } from "node:fs";
import { Problem, systemText } from "../text/problem.ts";

/** "NAME=VALUE" or "NAME" of every line that is neither empty nor a comment. Throws a Problem that names file and line. */
export function readEnvironment(path: string): string[] {
  const lines = read(path)
    .replace(/^\uFEFF/, "")
    .split(/\r?\n/);
  return lines.flatMap((line, index) => {
    const text = line.trimStart();
    if (text === "" || text.startsWith("#")) return [];
    const name = text.split("=", 1)[0] ?? "";
    if (name === "" || /\s/.test(name))
      throw new Problem(`${path}, line ${index + 1}: a variable's name has no spaces, and is not empty`);
    return [text];
  });
}

function read(path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(readFileSync(path));
  } catch (error) {
    throw new Problem(
      `--env-file ${path}: ${error instanceof TypeError ? "it is no UTF-8" : systemText(error)}`,
    );
  }
}
