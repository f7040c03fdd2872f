// Text that others choose: escaped, measured and cut as a terminal shows it, in tables, lines, errors and JSON.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { coloured, colouredWidth, createColors } from "../../src/cli/text/colors.ts";
import {
  clip,
  printable,
  printableJson,
  printableLines,
  shellWord,
  widthOf,
} from "../../src/cli/text/printable.ts";
import { renderTable } from "../../src/cli/text/table.ts";
import { check } from "../harness/command.ts";

const plain = createColors(false);
const colors = createColors(true);

test("whatever steers a terminal is shown as an escape", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"],
    ["a\r\nb\tc\0", "a\\r\\nb\\tc\\x00"],
    ["\x7f\x80\x9b31m\x9d", "\\x7f\\x80\\x9b31m\\x9d"],
    ["abc\u202egpj.exe\u2066", "abc\\u{202e}gpj.exe\\u{2066}"],
    ["\u2028\u2029\ufeff", "\\u{2028}\\u{2029}\\u{feff}"],
    ["\ud800x\udc00", "\\u{d800}x\\u{dc00}"],
    ["héllo wörld 漢字 👩‍👩‍👧 e\u0301", "héllo wörld 漢字 👩‍👩‍👧 e\u0301"],
  ];
  for (const [text, shown] of cases) assert.equal(printable(text), shown);
  assert.equal(printableLines("one\x1b\ntwo\r"), "one\\x1b\ntwo\\r");
});

test("no text gets a control character through, alone, in colour or as JSON", () => {
  const any = fc.string({ unit: "binary" });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: looked for on purpose.
  const controls = /[\0-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;
  fc.assert(
    fc.property(any, any, (text, other) => {
      assert.doesNotMatch(printable(text), controls);
      assert.doesNotMatch(coloured(`${text}${other}`), controls);
      const shown = coloured(`${text}${colors.red(other)}`);
      assert.equal(shown, `${printable(text)}\x1b[31m${printable(other)}\x1b[39m`);
      const json = printableJson(JSON.stringify([text, other]));
      assert.doesNotMatch(json, controls);
      assert.deepEqual(JSON.parse(json), [text, other]);
    }),
  );
});

test("width is what a terminal takes: two columns for wide characters and emoji, none for what combines", () => {
  for (const [text, columns] of [
    ["abc", 3],
    ["漢字", 4],
    ["e\u0301a\u0308", 2],
    ["👩‍👩‍👧", 2],
    ["👍🏽", 2],
    ["ｱ", 1],
    ["한국", 4],
  ] as const) {
    assert.equal(widthOf(text), columns, text);
    assert.equal(colouredWidth(colors.bold(text)), columns, text);
  }
  assert.equal(clip("漢字漢字", 5), "漢字…");
  assert.equal(clip("漢字漢字", 4), "漢…");
  assert.equal(clip("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 5), "👩‍👩‍👧👩‍👩‍👧…");
  assert.equal(clip("abcdef", 6), "abcdef");
  assert.equal(clip("abcdef", 5), "abcd…");
});

test("a table is in line whatever its cells hold, and fits the terminal", () => {
  const rows = [
    ["漢字", "x", "one two three four five six seven eight nine ten eleven twelve"],
    ["e\u0301", "\x1b[31m", "short"],
    ["plain", "yyy", "漢字".repeat(30)],
  ];
  const lines = renderTable(["ID", "STATE", "COMMAND"], rows, plain).split("\n");
  assert.equal(lines.length, 4);
  const [head = "", ...rest] = lines;
  const column = widthOf(head.slice(0, head.indexOf("COMMAND")));
  for (const [index, starts] of [
    [0, "one two"],
    [1, "short"],
    [2, "漢"],
  ] as const) {
    const line = rest[index] ?? "";
    assert.equal(widthOf(line.slice(0, line.indexOf(starts, 5))), column, line);
  }
  for (const columns of [30, 40, 60, 80]) {
    for (const line of renderTable(["ID", "STATE", "COMMAND"], rows, plain, columns).split("\n")) {
      assert.ok(widthOf(line) <= columns, `${columns}: ${line}`);
    }
  }
  const wide = renderTable(["ID"], [["x".repeat(200)]], plain, undefined);
  assert.ok(wide.includes("x".repeat(200)));
  const cut = renderTable(["ID"], [[colors.red("x".repeat(200))]], colors, 20).split("\n")[1];
  assert.equal(cut, `\x1b[31m${"x".repeat(19)}…\x1b[39m`);
});

test("a word for the shell is that word, whatever it holds", async () => {
  for (const word of ["/run/a-b_c.sock", "a b", "it's", '$(x) `y` "z"', "*", "", "a\\b", "tab\tx'y"]) {
    assert.equal(await check(["bash", "-c", `printf %s ${shellWord(word)}`]), word);
  }
});
