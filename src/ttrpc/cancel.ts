// A cancellation that is small and needs no AbortController. The base of a server's calls; callers of a client make their own.

/** Tells that nobody waits for the result any more. */
export interface CancelSignal {
  readonly cancelled: boolean;
  /** Calls `listener` once on cancellation, at once if it has happened; it must not throw. Returns what takes the listener off. */
  onCancel(listener: () => void): () => void;
}

export class Cancellation implements CancelSignal {
  #cancelled = false;
  #listeners: Set<() => void> | undefined;

  get cancelled(): boolean {
    return this.#cancelled;
  }

  onCancel(listener: () => void): () => void {
    if (this.#cancelled) {
      listener();
      return () => {};
    }
    // One entry each, even if the same function is given twice.
    const entry = () => listener();
    this.#listeners ??= new Set();
    this.#listeners.add(entry);
    return () => this.#listeners?.delete(entry);
  }

  /** Cancelling again does nothing. */
  cancel(): void {
    if (this.#cancelled) return;
    this.#cancelled = true;
    const listeners = this.#listeners;
    this.#listeners = undefined;
    for (const listener of listeners ?? []) listener();
  }
}
