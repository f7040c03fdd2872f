// Cases of what the compiled program holds beside its code.
import * as host from "holdfast:host";
import { report } from "./report.ts";

export const imageCases = {
  /** One constant of each kind; the large numbers are compared with those given. */
  constants(...numbers: string[]): void {
    report([2147483647, -2147483648, 4294967295, 0.1, -1e300, 5e-324]);
    const large = [0n, -1n, 9223372036854775807n, 9223372036854775808n, 18446744073709551615n];
    report(large.map((value, index) => value === BigInt(numbers[index] ?? "")));
    report(["", "plain", "\0 in it", "ä", "\u{1f600} wide", "__proto__", "constructor", "12"]);
    report([Object.is(-0, [-0][0]), Number.isNaN(Number.NaN), 1 / 0 === Infinity]);
  },
  /** Names of the image are still there after functions that use them are gone, and come back with others. */
  names(): void {
    for (let round = 0; round < 50; round++) {
      const made = [1, 2, 3].map((number) => ({ onlyHere: () => ({ andHere: number }).andHere }));
      if (made.some(({ onlyHere }, index) => onlyHere() !== index + 1)) throw new Error("a name is lost");
      host.trimMemory();
    }
    const parsed = JSON.parse('{"onlyHere":1,"andHere":2}') as { onlyHere: number; andHere: number };
    report([parsed.onlyHere, parsed.andHere]);
  },
  /** Functions of every kind, after a collection. */
  async functions(): Promise<void> {
    class Base {
      static readonly kind = "base";
      #hidden = 1;
      get hidden(): number {
        return this.#hidden;
      }
    }
    class Derived extends Base {
      readonly own: string = Derived.kind;
      override get hidden(): number {
        return super.hidden + 1;
      }
    }
    function* count(limit: number): Generator<number> {
      for (let i = 0; i < limit; i++) yield i;
    }
    host.trimMemory();
    const later = async (value: number): Promise<number> => (await Promise.resolve(value)) * 2;
    const derived = new Derived();
    report([derived.hidden, derived.own, [...count(3)], await later(4), later.name, count.length]);
  },
};
