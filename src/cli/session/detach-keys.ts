// The keys that leave a container running and give the terminal back.
import { Problem, USAGE } from "../text/problem.ts";

export const DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q";

/** The bytes of "ctrl-p,ctrl-q" or "a,ctrl-]"; none for "". Throws a Problem. */
export function parseDetachKeys(text: string): number[] {
  if (text === "") return [];
  return text.split(",").map((key) => {
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1];
    if (control !== undefined) return control.toUpperCase().charCodeAt(0) & 0x1f;
    if (key.length === 1) return key.charCodeAt(0);
    throw new Problem(`not a key: ${key}: write detach keys like ctrl-p,ctrl-q`, USAGE);
  });
}

export class DetachKeys {
  readonly #keys: readonly number[];
  #matched = 0;

  constructor(keys: readonly number[]) {
    this.#keys = keys;
  }

  /** What of `chunk` is for the process. The start of a sequence is held back until it is clear what it becomes. */
  feed(chunk: Uint8Array): { forward: Uint8Array; detached: boolean } {
    if (this.#keys.length === 0) return { forward: chunk, detached: false };
    const forward: number[] = [];
    for (const byte of chunk) {
      if (byte !== this.#keys[this.#matched]) {
        forward.push(...this.#keys.slice(0, this.#matched));
        this.#matched = 0;
      }
      if (byte !== this.#keys[this.#matched]) forward.push(byte);
      else if (++this.#matched === this.#keys.length) {
        this.#matched = 0;
        return { forward: Uint8Array.from(forward), detached: true };
      }
    }
    return { forward: Uint8Array.from(forward), detached: false };
  }
}
