// esbuild plugin for the shim's bundle: makes `#name` an ordinary property with a short name. The type checker has seen to it that nobody else uses one;
// in the engine each costs a symbol and a variable, and a reference to it in every method that uses it. Called by bytecode.ts.
import { readFileSync } from "node:fs";
import type { Plugin } from "esbuild";

/** What the bundler gives short names (mangleProps): nobody else begins one like this. */
export const PLAIN_NAMES: RegExp = /^\$private_/;

const TOKEN = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`|[{}]|#([A-Za-z_]\w*)/g;
const TEMPLATE_PART = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{)/y;

/**
 * The code with plain properties in place of private ones. A class that extends another has to have a file of its own: both may have one of the same name, so
 * these get names by the class. Throws on code that it cannot read.
 */
export function withPlainNames(code: string): string {
  const prefix = `$private_${derivedClass(code)}`;
  let result = "";
  let done = 0;
  // Braces that are open, and whether each one is a template's.
  const open: boolean[] = [];
  const skipTemplate = (at: number): void => {
    TEMPLATE_PART.lastIndex = at;
    const part = TEMPLATE_PART.exec(code)?.[0];
    if (part === undefined) throw new Error(`a template without an end: ${code.slice(at, at + 60)}`);
    if (part.endsWith("{")) open.push(true);
    TOKEN.lastIndex = TEMPLATE_PART.lastIndex;
  };
  TOKEN.lastIndex = 0;
  for (let found = TOKEN.exec(code); found !== null; found = TOKEN.exec(code)) {
    const [token, name] = found;
    const end = TOKEN.lastIndex;
    if (token === "`") skipTemplate(end);
    else if (token === "{") open.push(false);
    else if (token === "}" && open.pop() === true) skipTemplate(end);
    if (name === undefined) continue;
    result += code.slice(done, found.index) + prefix + name;
    done = end;
  }
  return result + code.slice(done);
}

/** The name of the class in the file that extends another, with a `_` behind it; empty if there is none. */
function derivedClass(code: string): string {
  const classes = [...code.matchAll(/^(?:export )?(?:abstract )?class (\w+)(?:<.*>)?( extends )?/gm)];
  const derived = classes.find(([, , extension]) => extension !== undefined);
  if (derived === undefined) return "";
  if (classes.length > 1 && /#[A-Za-z_]/.test(code))
    throw new Error(
      `${derived[1]} extends another class and shares its file: private names could be taken twice`,
    );
  return `${derived[1]}_`;
}

export function privateNames(): Plugin {
  return {
    name: "private-names",
    setup(build) {
      build.onLoad({ filter: /[/\\](?:src|cmd)[/\\].*\.ts$/ }, ({ path }) => ({
        contents: withPlainNames(readFileSync(path, "utf8")),
        loader: "ts",
      }));
    },
  };
}
