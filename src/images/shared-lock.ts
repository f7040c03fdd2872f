// Many writers, or one collection: who makes something that nothing refers to yet holds the lock together with others; a collection has it alone.

export class SharedLock {
  #holders = 0;
  #exclusive = false;
  #waiting: (() => void)[] = [];

  /** Waits for a collection that goes on. Returns what lets go; calling that twice does nothing. */
  async share(): Promise<() => void> {
    while (this.#exclusive) await this.#changed();
    this.#holders++;
    return once(() => {
      this.#holders--;
      this.#wake();
    });
  }

  /** Waits until nobody holds it; new holders wait from now on. */
  async exclude(): Promise<() => void> {
    while (this.#exclusive) await this.#changed();
    this.#exclusive = true;
    while (this.#holders > 0) await this.#changed();
    return once(() => {
      this.#exclusive = false;
      this.#wake();
    });
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

function once(act: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    act();
  };
}
