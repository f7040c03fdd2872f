// What comes before everything that others can see of this process, so that its state is written first (state-log.ts).
import { failpoint } from "./failpoint.ts";

let flush = (): void => {};

/** To be called first. */
export function beforeEffect(): void {
  failpoint("state");
  flush();
  failpoint("effect");
}

/** What is to be done before each. */
export function useBeforeEffects(hook: () => void): void {
  flush = hook;
}
