// What the launcher of the Node programs (scripts/launcher.sh) hands over in disguise, so that Node does not read it: arguments and variables.

const KEPT = "HOLDFAST_KEPT_";
/** What Node takes for itself wherever it stands, if somebody starts it on the program without the launcher. */
const TAKEN =
  /^--(env-file|env-file-if-exists|experimental-config-file|experimental-default-config-file)(=|$)/;

/** Variables of whoever started us that are not in process.env, because libraries would follow them. */
const kept: Map<string, string> = takeKept(process.env);

function takeKept(env: NodeJS.ProcessEnv): Map<string, string> {
  const found = new Map<string, string>();
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith(KEPT) || value === undefined) continue;
    found.set(name.slice(KEPT.length), value);
    delete env[name];
  }
  return found;
}

/** A variable as whoever started us has set it, NODE_OPTIONS and its like too. */
export function userVariable(name: string): string | undefined {
  return process.env[name] ?? kept.get(name);
}

/** The arguments of process.argv as they were given. Throws if Node itself has followed one of them. */
export function userArguments([, , first, ...rest]: readonly string[] = process.argv): string[] {
  if (first === ":" && rest.every((word) => word.startsWith(":"))) return rest.map((word) => word.slice(1));
  const words = first === undefined ? [] : [first, ...rest];
  const end = words.indexOf("--");
  const taken = words.slice(0, end < 0 ? undefined : end).find((word) => TAKEN.test(word));
  if (taken !== undefined) {
    throw new Error(
      `Node has taken ${taken} for itself: start this program by its own name, not as "node …"`,
    );
  }
  return words;
}

/** Shows the arguments in ps as they were given. */
export function nameProcess(name: string, words: readonly string[]): void {
  process.title = [name, ...words].join(" ");
}
