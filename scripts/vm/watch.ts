// What the virtual machine tells over its second serial port, line by line, and whether it still lives. Used by boot.ts.
import { relative } from "node:path";
import type { TestResult } from "../results/results.ts";

/** Limits, all in ms. The machine boots in ten seconds and tells that it lives every five; on a host that does much else it has been seen to take minutes. */
export interface Limits {
  /** For the whole run. */
  readonly whole: number;
  /** Without a sign of life. */
  readonly silence: number;
  /** Without a test that begins or ends: more than a test may take by itself. */
  readonly standstill: number;
}

export const LIMITS: Limits = { whole: 25 * 60_000, silence: 7 * 60_000, standstill: 12 * 60_000 };

/** Why a run is over before its tests are. One that has died may be tried again; tests that hang would hang again. */
export interface Verdict {
  readonly died: boolean;
  readonly why: string;
}

export class Watch {
  readonly results: TestResult[] = [];
  /** The files whose tests are all over. */
  readonly ended: Set<string> = new Set();
  /** What runs now, by file. */
  readonly #running = new Map<string, string>();
  readonly #limits: Limits;
  readonly #began: number;
  #heard: number;
  #moved: number;
  #rest = "";
  #isWhole = false;

  constructor(now: number, limits: Limits = LIMITS) {
    this.#limits = limits;
    this.#began = this.#heard = this.#moved = now;
  }

  /** Whether the tests have told that they are over. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** The test that runs in each file. */
  get running(): string[] {
    return [...this.#running].map(([file, name]) => `${file}: ${name}`);
  }

  /** More of what the port has brought. */
  heard(text: string, now: number): void {
    if (text === "") return;
    this.#heard = now;
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#line(line, now);
  }

  #line(line: string, now: number): void {
    const told = parsed(line);
    if (told === undefined) return;
    if ("status" in told) this.#isWhole = true;
    const { file, name } = told;
    if (typeof file !== "string") return;
    this.#moved = now;
    const source = relative(".", file).replace(/\.mjs$/, ".ts");
    if ("began" in told) this.#running.set(source, String(told.began));
    if ("over" in told) {
      this.#running.delete(source);
      this.ended.add(source);
    }
    if ("outcome" in told && typeof name === "string") {
      this.results.push({ ...(told as unknown as TestResult), file: source });
    }
  }

  /** Undefined as long as all is well. */
  verdict(now: number): Verdict | undefined {
    const seconds = (since: number): number => Math.round((now - since) / 1000);
    const { whole, silence, standstill } = this.#limits;
    if (now - this.#heard > silence) {
      return { died: true, why: `the machine has given no sign of life for ${seconds(this.#heard)} s` };
    }
    if (now - this.#moved > standstill) {
      return { died: false, why: `no test has begun or ended for ${seconds(this.#moved)} s` };
    }
    if (now - this.#began > whole) {
      return { died: false, why: `the tests have not ended within ${seconds(this.#began)} s` };
    }
    return undefined;
  }
}

/** A line that was torn, or that two have written into, says nothing. */
function parsed(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
