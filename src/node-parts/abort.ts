// AbortController, as far as programs here and the streams' package use it.

type Listener = (event: { readonly type: "abort" }) => void;

class AbortError extends Error {
  override readonly name = "AbortError";
  readonly code = "ABORT_ERR";

  constructor() {
    super("This operation was aborted");
  }
}

export class AbortSignal {
  #reason: unknown;
  readonly #listeners = new Map<Listener, boolean>();

  get aborted(): boolean {
    return this.#reason !== undefined;
  }

  get reason(): unknown {
    return this.#reason;
  }

  throwIfAborted(): void {
    if (this.aborted) throw this.#reason;
  }

  addEventListener(
    _type: "abort",
    listener: Listener,
    { once = false }: { readonly once?: boolean } = {},
  ): void {
    if (!this.#listeners.has(listener)) this.#listeners.set(listener, once);
  }

  removeEventListener(_type: "abort", listener: Listener): void {
    this.#listeners.delete(listener);
  }

  /** For its controller. */
  abort(reason: unknown): void {
    if (this.aborted) return;
    this.#reason = reason;
    for (const [listener, once] of [...this.#listeners]) {
      if (once) this.#listeners.delete(listener);
      listener({ type: "abort" });
    }
  }
}

export class AbortController {
  readonly signal: AbortSignal = new AbortSignal();

  abort(reason: unknown = new AbortError()): void {
    this.signal.abort(reason);
  }
}
