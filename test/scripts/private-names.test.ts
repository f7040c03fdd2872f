// What the shim's bundle makes of private names.
import assert from "node:assert/strict";
import { test } from "node:test";
import { transformSync } from "esbuild";
import { PLAIN_NAMES, withPlainNames } from "../../scripts/private-names.ts";

/** What the code's `result` is once it has run, as the bundle has it. */
function run(code: string): unknown {
  const plain = transformSync(withPlainNames(code), { loader: "ts", minify: true, mangleProps: PLAIN_NAMES });
  assert.doesNotMatch(plain.code, /\.#|\$private_/);
  return new Function(`${plain.code}; return globalThis.result;`)();
}

test("private fields, methods and accessors do what they did", () => {
  const code = `
class Counter {
  readonly #step: number;
  #count = 0;
  static #made = 0;
  constructor(step: number) { this.#step = step; Counter.#made++; }
  get #next(): number { return this.#count + this.#step; }
  #advance(): void { this.#count = this.#next; }
  advanced(other?: Counter): string { this.#advance(); other?.#advance(); return \`\${\`#\${this.#count}\`} of #made {\${Counter.#made}}\`; }
}
const first = new Counter(2), second = new Counter(3);
globalThis.result = [first.advanced(second), second.advanced()];`;
  assert.deepEqual(run(code), ["#2 of #made {2}", "#6 of #made {2}"]);
});

test("texts and comments are left alone", () => {
  const code = `// "#one and \`#two\n/* '#three */ const a = "\\"#four", b = '#five', c = \`unix://#six \${"}#seven"} \\\`#eight\`;`;
  assert.equal(withPlainNames(code), code);
});

test("a class that extends another has names of its own", () => {
  const base = withPlainNames("export class Base { #state = 1; }");
  const derived = withPlainNames("export class Derived extends Base { #state = 2; }");
  assert.notEqual(base.match(/\$private_\w+/)?.[0], derived.match(/\$private_\w+/)?.[0]);
  assert.throws(
    () => withPlainNames("class A { #x = 1; }\nclass B extends A { #x = 2; }"),
    /B extends another/,
  );
});
