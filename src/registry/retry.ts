// How often and when a host is asked again.
import { setTimeout as sleep } from "node:timers/promises";
import { isAbsent, RegistryError } from "./failure.ts";

/** Attempts without any progress. */
const ATTEMPTS = 5;
const FIRST_WAIT_MS = 200;
/** A registry that wants more patience than this gets none. */
const MAX_WAIT_MS = 60_000;

/** Does `act` until it goes well, or something else is wrong than what passes. `progress` is a number that grows with what has been done. */
export async function persistently<T>(
  signal: AbortSignal,
  progress: () => number,
  act: () => Promise<T>,
): Promise<T> {
  let before = progress();
  for (let attempt = 1; ; attempt++) {
    try {
      return await act();
    } catch (error) {
      signal.throwIfAborted();
      const now = progress();
      const waitMs =
        error instanceof RegistryError ? patience(error, now > before ? 1 : attempt, now > 0) : 0;
      if (waitMs === 0) throw error;
      if (now > before) attempt = 1;
      before = now;
      await sleep(waitMs, undefined, { signal });
    }
  }
}

/** How long to wait before the next attempt, in ms; 0 if there is to be none. */
export function patience(error: RegistryError, attempt: number, hasAnswered: boolean): number {
  if (error.remedy !== "again" || attempt >= ATTEMPTS) return 0;
  if (!hasAnswered && isAbsent(error)) return 0;
  const usual = FIRST_WAIT_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
  const wanted = error.retryAfterMs ?? 0;
  // One that says "at once", or a time that has passed, is not asked without a break.
  return wanted > MAX_WAIT_MS ? 0 : Math.max(usual, wanted);
}
