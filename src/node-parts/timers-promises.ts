// node:timers/promises as far as the command line uses it.
interface Options {
  readonly signal?: AbortSignal;
  readonly ref?: boolean;
}

/** Resolves to `value` after `ms` milliseconds; rejects with an AbortError before, if the signal says so. */
export function setTimeout<T>(ms?: number, value?: T, { signal }: Options = {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(
        Object.assign(new Error("The operation was aborted"), { name: "AbortError", code: "ABORT_ERR" }),
      );
    };
    const timer = globalThis.setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve(value as T);
    }, ms);
    if (signal?.aborted === true) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}
