// One answer that several callers wait for, each of whom may leave before it comes. Reactions to a promise stay with it until it is settled: a client that
// asks for a long wait once a second, and goes, would leave one behind each time.
import type { CancelSignal } from "../../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";

type Outcome<T> = { readonly value: T } | { readonly error: unknown };

export class SharedAnswer<T> {
  readonly #callers = new Set<(outcome: Outcome<T>) => void>();
  #outcome: Outcome<T> | undefined;

  constructor(answer: Promise<T>) {
    answer.then(
      (value) => this.#settle({ value }),
      (error: unknown) => this.#settle({ error }),
    );
  }

  /** How many wait. */
  get callers(): number {
    return this.#callers.size;
  }

  /** Rejects with CANCELLED, and leaves nothing behind, if the caller goes away first. */
  get(signal?: CancelSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      let off: (() => void) | undefined;
      const take = (outcome: Outcome<T>): void => {
        off?.();
        if ("value" in outcome) resolve(outcome.value);
        else reject(outcome.error);
      };
      if (this.#outcome !== undefined) return take(this.#outcome);
      this.#callers.add(take);
      off = signal?.onCancel(() => {
        this.#callers.delete(take);
        reject(new TtrpcError(Code.CANCELLED, "the caller has gone"));
      });
    });
  }

  #settle(outcome: Outcome<T>): void {
    this.#outcome = outcome;
    for (const take of this.#callers) take(outcome);
    this.#callers.clear();
  }
}
