// What every program for Node finds without an import. To be imported before anything else.
import * as host from "holdfast:host";
import { Buffer } from "node:buffer";
import { useTextEncoding } from "../api/text-encoding.ts";
import { AbortController, AbortSignal } from "./abort.ts";
import { goOnInNode } from "./go-on.ts";
import { process } from "./process.ts";

/** As Node ends over what nobody caught; the host itself would leave a core. */
host.onUncaught((error) => {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  process.stderr.write(`${String(error)}\n${stack}`);
  process.exit(1);
});
host.raiseFileLimit();

const MOST_MS = 2 ** 31 - 1;

type Act = (...args: unknown[]) => void;

class TextEncoder {
  encode(text = ""): Uint8Array {
    return host.encodeUtf8(text);
  }
}

interface DecoderOptions {
  readonly fatal?: boolean;
  readonly ignoreBOM?: boolean;
}

class TextDecoder {
  readonly #isFatal: boolean;
  readonly #keepsMark: boolean;

  constructor(_encoding = "utf-8", { fatal = false, ignoreBOM = false }: DecoderOptions = {}) {
    this.#isFatal = fatal;
    this.#keepsMark = ignoreBOM;
  }

  decode(bytes: Uint8Array = new Uint8Array(0)): string {
    const text = host.decodeUtf8(bytes);
    // Whoever wrote U+FFFD itself is told the same by its bytes.
    if (this.#isFatal && text.includes("\ufffd") && !isSame(host.encodeUtf8(text), bytes))
      throw new TypeError("The encoded data was not valid for encoding utf-8");
    return !this.#keepsMark && text.startsWith("\ufeff") ? text.slice(1) : text;
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}

class Timer {
  readonly #id: number;

  constructor(ms: number, fire: () => void) {
    this.#id = host.setTimer(ms, fire);
  }

  clear(): void {
    host.clearTimer(this.#id);
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}

function setTimeout(act: Act, ms = 0, ...args: unknown[]): Timer {
  return new Timer(ms >= 0 && ms <= MOST_MS ? ms : 1, () => act(...args));
}

/** V8's own: its errors know their stack without it. */
Object.assign(Error, { captureStackTrace: () => {} });

Object.assign(globalThis, {
  Buffer,
  process,
  global: globalThis,
  /** For the package of events, which warns of many listeners. */
  console: { warn: () => {} },
  AbortController,
  AbortSignal,
  TextEncoder,
  TextDecoder,
  setTimeout,
  clearTimeout: (timer: Timer | undefined) => timer?.clear(),
  setImmediate: (act: Act, ...args: unknown[]) => setTimeout(act, 0, ...args),
  clearImmediate: (timer: Timer | undefined) => timer?.clear(),
  queueMicrotask: (act: () => void) => void Promise.resolve().then(act),
  performance: { now: host.monotonicMs, timeOrigin: Date.now() - host.monotonicMs() },
  Intl: {
    get Segmenter() {
      return goOnInNode("text that is not plain");
    },
  },
});
useTextEncoding({ encode: host.encodeUtf8, decode: host.decodeUtf8 });
