// What doctor's checks come to, and how a list of things becomes one.
import { shellWord } from "../text/printable.ts";

export interface Finding {
  readonly check: string;
  /** "bad" makes doctor fail; "hint" is worth knowing. */
  readonly level: "good" | "hint" | "bad";
  readonly found: string;
  /** What to do about it. */
  readonly advice?: string | undefined;
  /** All that `found` names the first of. */
  readonly items?: readonly string[] | undefined;
}

const SHOWN = 5;

/** Bad if there is any. */
export function listed(check: string, bad: readonly string[], advice: string, good = "none"): Finding {
  if (bad.length === 0) return { check, level: "good", found: good };
  const more = bad.length > SHOWN ? `, and ${bad.length - SHOWN} more` : "";
  const found = `${bad.length}: ${bad.slice(0, SHOWN).join(", ")}${more}`;
  return { check, level: "bad", found, advice, items: bad };
}

/** Worth knowing, but nothing works worse for it. */
export function harmless(found: Finding): Finding {
  return found.level === "bad" ? { ...found, level: "hint" } : found;
}

/** The command that removes all of them. */
export function removal(check: string, paths: readonly string[], command: string): string {
  if (paths.length <= 1) return `${command} ${shellWord(paths[0] ?? "")}`;
  return `holdfast doctor --json | jq -r '.[] | select(.check == "${check}") | .items[]' | xargs -d '\\n' ${command}`;
}
