// Waiting that ends.
import type { Clock } from "./platform.ts";

/** Whether `work` settles (well or not) within `ms`. It goes on in any case. */
export function within(clock: Clock, ms: number, work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => resolve(false));
    const settled = (): void => {
      timer.cancel();
      resolve(true);
    };
    work.then(settled, settled);
  });
}
