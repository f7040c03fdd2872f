// Where this machine gets Debian's packages from, as apt's own configuration says: so that no host is named here. Used by quickjs.ts and debian-root.ts.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Debian's own key, whatever key the machine's entries name: another archive may call its suite as Debian does. */
export const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** One place and suite of an apt entry that offers "main". */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
}

/** Suites of Debian itself; most other archives call theirs otherwise. */
const SUITES = [
  "bullseye",
  "bookworm",
  "trixie",
  "forky",
  "sid",
  "stable",
  "oldstable",
  "testing",
  "unstable",
];

/** Where plain Debian suites (not security or updates) come from, without doubles, in the configuration's order. */
export function debianArchives(): string[] {
  return [...new Set(machineSources().flatMap(({ uri, suite }) => (SUITES.includes(suite) ? [uri] : [])))];
}

/** Where Debian's security updates come from. */
export function securityArchives(): string[] {
  const isSecurity = (suite: string): boolean => SUITES.some((name) => suite === `${name}-security`);
  return [...new Set(machineSources().flatMap(({ uri, suite }) => (isSecurity(suite) ? [uri] : [])))];
}

function machineSources(): AptSource[] {
  const directory = "/etc/apt/sources.list.d";
  const parts = existsSync(directory)
    ? readdirSync(directory)
        .sort()
        .map((name) => join(directory, name))
    : [];
  return ["/etc/apt/sources.list", ...parts].flatMap((path) => {
    if (!existsSync(path) || !statSync(path).isFile()) return [];
    const text = readFileSync(path, "utf8");
    if (path.endsWith(".sources")) return deb822Sources(text);
    return path.endsWith(".list") ? lineSources(text) : [];
  });
}

/** Of a file in the form of `Types: deb`. */
export function deb822Sources(text: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((paragraph) => {
    const fields = new Map<string, string>();
    let last = "";
    for (const line of paragraph.split("\n").filter((each) => !each.startsWith("#"))) {
      const field = /^([A-Za-z-]+):\s*(.*)$/.exec(line);
      if (field?.[1] !== undefined) {
        last = field[1].toLowerCase();
        fields.set(last, field[2] ?? "");
      } else if (/^\s/.test(line)) fields.set(last, `${fields.get(last) ?? ""} ${line.trim()}`);
    }
    const words = (name: string): string[] =>
      (fields.get(name) ?? "").split(/\s+/).filter((word) => word !== "");
    if (fields.get("enabled") === "no" || !words("components").includes("main")) return [];
    return words("uris").flatMap((uri) => words("suites").map((suite) => ({ uri, suite })));
  });
}

/** Of a file in the form of `deb URI SUITE COMPONENT...`. */
export function lineSources(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const entry = /^\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$/.exec(line);
    if (entry === null) return [];
    const [, uri = "", suite = "", components = ""] = entry;
    return components.split(/\s+/).includes("main") ? [{ uri, suite }] : [];
  });
}
