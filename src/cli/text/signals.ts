// Signal names and numbers, as people write them.
import { constants } from "node:os";
import { Problem, USAGE } from "./problem.ts";

const HIGHEST = 64;

function numbers(): Readonly<Record<string, number>> {
  return constants.signals;
}

/** The real-time signals that the C library leaves to programs: SIGRTMIN is not the kernel's first. */
const RT_MIN = 34;
const RT_MAX = HIGHEST;

/** The number of "TERM", "sigterm", "15", "SIGRTMIN+3", "RTMAX-1". Throws a Problem. */
export function signalNumber(text: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= HIGHEST) return number;
  }
  const name = text.toUpperCase().replace(/^SIG/, "");
  const number = numbers()[`SIG${name}`] ?? realTime(name);
  if (number === undefined) throw new Problem(`no signal is called ${text}`, USAGE);
  return number;
}

function realTime(name: string): number | undefined {
  const [, base, sign, digits] = /^RT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name) ?? [];
  if (base === undefined) return undefined;
  const offset = Number(digits ?? 0) * (sign === "-" ? -1 : 1);
  const number = (base === "MIN" ? RT_MIN : RT_MAX) + offset;
  return number >= RT_MIN && number <= RT_MAX ? number : undefined;
}

/** "SIGKILL" for 9, "SIGRTMIN+3" for 37; undefined for a number without a name. */
export function signalName(number: number): string | undefined {
  if (number >= RT_MIN && number <= RT_MAX) {
    const [base, offset] =
      number <= (RT_MIN + RT_MAX) / 2 ? ["SIGRTMIN", number - RT_MIN] : ["SIGRTMAX", number - RT_MAX];
    return `${base}${offset > 0 ? "+" : ""}${offset === 0 ? "" : offset}`;
  }
  return Object.keys(numbers()).find(
    (name) => numbers()[name] === number && name !== "SIGIOT" && name !== "SIGPOLL",
  );
}

/** "0", "42", "137 (SIGKILL)". */
export function exitText(status: number): string {
  const name = status > 128 ? signalName(status - 128) : undefined;
  return name === undefined ? String(status) : `${status} (${name})`;
}
