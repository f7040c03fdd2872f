// Go's regular expressions against what Go's documentation (https://pkg.go.dev/regexp/syntax) says of them.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseFilters } from "../../src/manager/server/filters.ts";
import { compilePattern } from "../../src/manager/server/pattern.ts";

const CASES: readonly (readonly [source: string, matching: readonly string[], other: readonly string[]])[] = [
  ["^/tasks/(exit|oom)$", ["/tasks/exit"], ["/tasks/exit2", "a/tasks/oom"]],
  ["a.c", ["abc", "a\rc", "a\u2028c", "a牛c"], ["a\nc", "ac"]],
  ["(?s)a.c", ["a\nc"], ["ac"]],
  ["(?s:a.)b.c", ["a\nb-c"], ["a\nb\nc"]],
  ["(?i)k[A-C]", ["Kb", "kC"], ["kd"]],
  ["^b", ["b"], ["a\nb"]],
  ["(?m)^b$", ["a\nb\nc"], ["a\rb", "ab"]],
  ["(?m)\\Ab\\z", ["b"], ["a\nb\nc"]],
  ["a$", ["a"], ["a\n"]],
  ["(?P<word>\\w+)-(?<digit>\\d)", ["ab-1"], ["é-x"]],
  ["^\\s$", [" ", "\t"], ["\v", "\u00a0"]],
  ["^[\\S]$", ["x", "\v", "\u00a0", "牛"], [" ", "\n"]],
  ["^[^\\s\\d]$", ["x"], ["1", " "]],
  ["^\\S$", ["x", "\u00a0"], [" ", "\t"]],
  ["^[[:alpha:]_-]+$", ["a_B-"], ["a1"]],
  ["^[[:punct:]]$", ["[", "]", "\\", "/", "~", "!"], ["a", " "]],
  ["^[]a]$", ["]", "a"], ["b"]],
  ["^[^]a]$", ["b"], ["]", "a"]],
  ["^[a-c-]$", ["b", "-"], ["d"]],
  ["^[\\d-z]$", ["5", "-", "z"], ["a"]],
  ["\\Qa.b[\\E+", ["a.b[["], ["axb["]],
  ["^\\Q.", ["."], ["a"]],
  ["^\\x41\\x{1F600}\\101\\0$", ["A😀A\0"], ["A"]],
  ["^\\a\\t$", ["\x07\t"], ["a\t"]],
  ["\\pL\\p{Lu}\\p{Greek}\\P{Greek}", ["aAαb"], ["aAαα", "1Aαb"]],
  ["^\\p{^Greek}$", ["a"], ["α"]],
  ["a{2}b{1,}c{,2}", ["aabc{,2}"], ["aabcc"]],
  ["^{a}]$", ["{a}]"], ["a"]],
  ["^a+?b??$", ["aa", "ab"], ["b"]],
  ["\\bfoo\\b", ["a foo b"], ["afoo"]],
  ['\\.\\-\\_\\/\\ \\"\\%', ['.-_/ "%'], ["a"]],
  ["^(|a)$", ["", "a"], ["b"]],
  ["^a(?i)b$", ["ab", "aB"], ["AB"]],
  ["^(?i)a(?-i)b$", ["ab", "Ab"], ["aB"]],
  ["(?U)^a+$", ["aa"], ["ab"]],
];

for (const [source, matching, other] of CASES) {
  test(`/${source}/ matches what it does in Go`, () => {
    const pattern = compilePattern(source);
    for (const text of matching) assert.equal(pattern.test(text), true, JSON.stringify(text));
    for (const text of other) assert.equal(pattern.test(text), false, JSON.stringify(text));
  });
}

const REFUSED = [
  "(",
  ")",
  "a)",
  "[a",
  "[",
  "*a",
  "a**",
  "(?=a)",
  "(?<!a)",
  "(?P<a>b)(?P<a>c)",
  "\\1",
  "\\k<a>",
  "\\y",
  "\\",
  "[b-a]",
  "[[:nix:]]",
  "\\p{Nix}",
  "a{1001}",
  "((a{100}){100}){100}",
];

for (const source of REFUSED) {
  test(`/${source}/ is refused, by name`, () => {
    assert.throws(
      () => compilePattern(source),
      (error: Error) =>
        error.message.startsWith(`regular expression ${JSON.stringify(source)}: `) &&
        error.message.length > source.length + 24,
    );
  });
}

test("text whose punctuation is escaped matches itself, wherever it stands", () => {
  const unit = fc.constantFrom(...('ab01_.*+?()[]{}|^$\\/-:"é牛😀'.match(/./gu) ?? []));
  fc.assert(
    fc.property(fc.array(unit), fc.array(unit), (own, around) => {
      const word = own.join("");
      const escaped = own
        .map((character) => (/[!-~]/.test(character) && !/\w/.test(character) ? `\\${character}` : character))
        .join("");
      const other = around.join("");
      assert.equal(compilePattern(escaped).test(other + word + other), true);
      assert.equal(compilePattern(`^${escaped}$`).test(other), other === word);
      assert.equal(compilePattern(`\\Q${word}\\E`).test(other), other.includes(word));
    }),
  );
});

/** Each takes a matcher that tries one way after the other longer than the universe has lasted. */
const EXPENSIVE = [
  "^(a+)+b$",
  "^(a|a)*b$",
  "^(a*)*b$",
  "(.*)*(.*)*x$",
  "^(([a-z])+.)+[A-Z]([a-z])+$",
  `${"a?".repeat(40) + "a".repeat(40)}b`,
];

for (const source of EXPENSIVE) {
  test(`/${source.slice(0, 40)}/ is answered, on the longest label`, () => {
    const matches = parseFilters([`labels.x~=/${source}/`]);
    assert.equal(
      matches(() => "a".repeat(4096)),
      false,
    );
  });
}

test("a pattern longer than a label can be is refused", () => {
  assert.equal(compilePattern("a".repeat(4096)).test("a"), false);
  assert.throws(() => compilePattern("a".repeat(4097)), /of 4097 characters/);
});
