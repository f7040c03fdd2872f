// process.nextTick, for those who need nothing else of the process: its parts are built on them.

/** Calls `act` when this turn is over. Among promises it keeps its place; Node would have it before them. */
export function nextTick(act: (...args: unknown[]) => void, ...args: unknown[]): void {
  void Promise.resolve().then(() => act(...args));
}

export const env: Readonly<Record<string, string>> = {};
