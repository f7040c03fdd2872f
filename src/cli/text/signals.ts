// Signal names and numbers, as people write them. Used by kill and everything that shows an exit status.
import { constants } from "node:os";
import { Problem, USAGE } from "./problem.ts";

const NUMBERS = constants.signals as Readonly<Record<string, number>>;
const HIGHEST = 64;

/** The number of "TERM", "sigterm", "15". Throws a Problem. */
export function signalNumber(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= HIGHEST) return number;
  }
  const upper = text.toUpperCase();
  const number = NUMBERS[upper.startsWith("SIG") ? upper : `SIG${upper}`];
  if (number === undefined) throw new Problem(`no signal is called ${text}`, USAGE);
  return number;
}

/** "SIGKILL" for 9; undefined for a number without a name. */
export function signalName(number: number): string | undefined {
  return Object.keys(NUMBERS).find(
    (name) => NUMBERS[name] === number && name !== "SIGIOT" && name !== "SIGPOLL",
  );
}

/** "0", "42", "137 (SIGKILL)". */
export function exitText(status: number): string {
  const name = status > 128 ? signalName(status - 128) : undefined;
  return name === undefined ? String(status) : `${status} (${name})`;
}
