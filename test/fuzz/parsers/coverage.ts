// Which parts of src/ have run, by V8's own counters: what guides the fuzzer. Node keeps the fuzzed code as it is, nothing is instrumented.
import { Session } from "node:inspector";

interface Script {
  readonly url: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}
interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

export class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  constructor() {
    this.#session.connect();
    this.#session.post("Profiler.enable");
    this.#session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
    this.#ranges(() => {});
  }

  /** Blocks that have run at all. */
  get size(): number {
    return this.#seen.size;
  }

  /** Forgets what has run since the last call of any method here. Returns whether some of it had never run before. */
  isNew(): boolean {
    let fresh = false;
    this.#ranges((key) => {
      fresh ||= !this.#seen.has(key);
    });
    return fresh;
  }

  /** The same, and remembers it. */
  add(): boolean {
    const before = this.#seen.size;
    this.#ranges((key) => this.#seen.add(key));
    return this.#seen.size > before;
  }

  close(): void {
    this.#session.disconnect();
  }

  #ranges(visit: (key: string) => void): void {
    this.#session.post("Profiler.takePreciseCoverage", (error, answer) => {
      if (error !== null) throw error;
      for (const { url, functions } of answer.result as unknown as readonly Script[]) {
        const at = url.indexOf("/src/");
        if (at < 0 || url.includes("/node_modules/")) continue;
        for (const { ranges } of functions)
          for (const { startOffset, endOffset, count } of ranges)
            if (count > 0) visit(`${url.slice(at)}:${startOffset}-${endOffset}`);
      }
    });
  }
}
