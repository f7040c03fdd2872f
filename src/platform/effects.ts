// What comes before everything that others can see of this process, so that its state is written first (state-log.ts).
import { failpoint } from "./failpoint.ts";

let flush = (): void => {};
/** While it is there nothing is written, and descriptors are closed later. */
let postponed: (() => void)[] | undefined;

/** To be called first. */
export function beforeEffect(): void {
  failpoint("state");
  if (postponed === undefined) flush();
  failpoint("effect");
}

/** Does what gives a descriptor's number away, at once or when what is being done as one is done. */
export function whenWritten(close: () => void): void {
  if (postponed !== undefined) {
    postponed.push(close);
    return;
  }
  beforeEffect();
  close();
}

/**
 * What `work` changes is written down as one, when it is over: whoever dies in it leaves the state as it was, and no descriptor that it names is closed
 * or another's. Returns what `work` does.
 */
export function asOne<T>(work: () => T): T {
  // A part of something greater that is one.
  if (postponed !== undefined) return work();
  postponed = [];
  const later = postponed;
  let result: T;
  try {
    result = work();
  } finally {
    postponed = undefined;
  }
  for (const close of later) whenWritten(close);
  return result;
}

/** What is to be done before each. */
export function useBeforeEffects(hook: () => void): void {
  flush = hook;
}
