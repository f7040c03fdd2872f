// Waits for a state of the system that announces itself by no event we could await, such as a process that vanishes from /proc.
import { isSanitizerBuild } from "./runtime.ts";

/** How many times longer than usual all may take: HOLDFAST_TEST_PATIENCE says so for a machine that is slow. */
const FACTOR = Number(process.env.HOLDFAST_TEST_PATIENCE || (isSanitizerBuild ? 6 : 1));

/** A bound for hangs that fits the build under test and the machine, in ms. */
export function patience(ms: number): number {
  return ms * FACTOR;
}

/** How often something is tried that could go wrong any time: fewer times on a slow machine, three at least. */
export function rounds(count: number): number {
  return Math.max(Math.ceil(count / FACTOR), Math.min(count, 3));
}

/** Looks again and again until `look` returns something other than undefined, null or false. Rejects after `timeoutMs`, naming `what`. */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | null | false | Promise<T | undefined | null | false>,
  timeoutMs: number = patience(60_000),
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`waited ${timeoutMs} ms in vain for ${what}`);
    await new Promise((next) => setTimeout(next, 10));
  }
}
