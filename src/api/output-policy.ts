// What becomes of a container's output that nobody reads: the annotation io.holdfast.stdout. Read by src/task, and by the command line for --log-policy.

export const POLICY_ANNOTATION = "io.holdfast.stdout";

/** A reader that does not read blocks the container; or what it does not take is dropped; or it waits on the disk, at most `limit` bytes of each stream. */
export type OutputPolicy =
  | { readonly kind: "block" }
  | { readonly kind: "drop" }
  | { readonly kind: "spill"; readonly limit: number };

const DEFAULT_LIMIT = 64 << 20;
export const LEAST_LIMIT: number = 1 << 20;
const MOST_LIMIT = 2 ** 40;
const UNITS: Readonly<Record<string, number>> = { k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** What the annotation's value means; without one a container blocks. Throws an Error that says what is known. */
export function parsePolicy(value: string | undefined): OutputPolicy {
  if (value === undefined || value === "block") return { kind: "block" };
  if (value === "drop") return { kind: "drop" };
  if (value === "spill") return { kind: "spill", limit: DEFAULT_LIMIT };
  if (value.startsWith("spill:")) return { kind: "spill", limit: parseLimit(value.slice("spill:".length)) };
  throw new Error(`unknown output policy ${JSON.stringify(value)}: give block, drop, spill or spill:SIZE`);
}

/** Bytes, or with k, m, g or t, of 1024 each. */
function parseLimit(text: string): number {
  const unit = UNITS[text.slice(-1).toLowerCase()];
  const digits = unit === undefined ? text : text.slice(0, -1);
  const isNumber = digits !== "" && [...digits].every((digit) => digit >= "0" && digit <= "9");
  const limit = isNumber ? Number(digits) * (unit ?? 1) : Number.NaN;
  if (limit >= LEAST_LIMIT && limit <= MOST_LIMIT) return limit;
  throw new Error(`output policy spill:${text}: the size must be a number from 1m to 1t, such as 64m`);
}
