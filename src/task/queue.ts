// Work that must happen one at a time, in the order in which it was asked for.

export class Queue {
  #tail: Promise<unknown> = Promise.resolve();

  /** Runs `work` after all earlier work, whether that went well or not; settles as `work` does. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(work);
    this.#tail = result.catch(() => {});
    return result;
  }
}
