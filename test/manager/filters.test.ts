// containerd's filter syntax: the facts of its own filter and scanner tests, and properties that random names and values must have.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Fields, parseFilters } from "../../src/manager/server/filters.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";

interface Item {
  readonly name: string;
  readonly other?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

const ITEMS: readonly Item[] = [
  { name: "foo", labels: { foo: "true" } },
  { name: "bar" },
  { name: "foo", labels: { foo: "present", "more complex label": "present" } },
  { name: "bar", labels: { bar: "true" } },
  { name: "fooer", labels: { 'more complex label with \\ and "': "present" } },
  { name: "fooer", labels: { 'more complex label with \\ and ".post': "present" } },
  { name: "baz", other: "too complex, yo" },
  { name: "bazo", other: "abc" },
  { name: "compound", labels: { foo: "omg_asdf.asdf-qwer" } },
];
const ALL = ITEMS.map((_, index) => index);

function fieldsOf(item: Item): Fields {
  return ([first, ...rest]) => {
    if (first === "name") return item.name;
    if (first === "other") return item.other;
    return first === "labels" ? item.labels?.[rest.join(".")] : undefined;
  };
}

function found(...filters: string[]): number[] {
  const matches = parseFilters(filters);
  return ALL.filter((index) => matches(fieldsOf(ITEMS[index] ?? { name: "" })));
}

function refusal(...filters: string[]): string {
  try {
    parseFilters(filters);
  } catch (error) {
    assert.ok(error instanceof TtrpcError, String(error));
    assert.equal(error.code, Code.INVALID_ARGUMENT);
    return error.rawMessage;
  }
  return assert.fail(`${filters} was taken`);
}

const FOUND: readonly (readonly [filter: string, items: readonly number[]])[] = [
  ["", ALL],
  ["name", ALL],
  ["other", [6, 7]],
  ["nothing", []],
  ["labels.foo", [0, 2, 8]],
  ["labels.foo,name", [0, 2, 8]],
  ["labels.foo==true", [0]],
  ["labels.foo==omg_asdf.asdf-qwer", [8]],
  ["name==bar", [1, 3]],
  ["name!=bar", [0, 2, 4, 5, 6, 7, 8]],
  ["name==bar,labels.bar", [3]],
  ["name==bar,labels.bar==true", [3]],
  ["name==bar,labels.bar==wrong", []],
  ['other=="too complex, yo"', [6]],
  ["other~=[abc]+,name!=foo", [6, 7]],
  ["other~=/[abc]+/,name!=foo", [6, 7]],
  ["other~=/[abc]{1,2}/,name!=foo", [6, 7]],
  ["other~=|[abc]{1,2}|", [6, 7]],
  ['other~="^abc$"', [7]],
  ['other~=/[abc]{0,1}"\\//,name!=foo', []],
  ['name==foo,labels."more complex label"', [2]],
  ['labels."more complex label with \\\\ and \\""==present', [4]],
  ['labels."more complex label with \\\\ and \\"".post==present', [5]],
  ['"name"==foo', [0, 2]],
  ["name == foo", [0, 2]],
  [" name ==\tfoo, labels.foo", [0, 2]],
  ["labels.0==x", []],
  // A field that is not there is an empty one, but for "==".
  ["other==''", []],
  ['other==""', []],
  ['other!=""', [6, 7]],
  ["other~=^$", [0, 1, 2, 3, 4, 5, 8]],
  // A single quote is a character as others are.
  ["name=='foo'", []],
  // Go's escapes, which may spell bytes.
  ['name=="f\\157\\x6f"', [0, 2]],
  ['name=="f\\u006f\\U0000006f"', [0, 2]],
  // In a regular expression a backslash of its own is written as two.
  ["other~=/a\\\\wc/", [7]],
  ["other~=a\\wc", [7]],
  ["name~=FOO", []],
  ["name~=(?i)FOO", [0, 2, 4, 5]],
];

for (const [filter, items] of FOUND) {
  test(`${JSON.stringify(filter)} finds items ${items.join(", ") || "none"}`, () => {
    assert.deepEqual(found(filter), items);
  });
}

const REFUSED: readonly (readonly [filter: string, text: string])[] = [
  ["labels.|foo|==omg_asdf.asdf-qwer", "[labels. >|||< foo|==omg_asdf.asdf-qwer]: invalid quote encountered"],
  ['labels.?"label".post==present', '[labels. >|?|< "label".post==present]: expected field or quoted'],
  ["name==foo,", "[name==foo,]: expected field or quoted"],
  ["labels.", "[labels.]: expected field or quoted"],
  ["image~=,id?=?fbaq", "[image~= >|,|< id?=?fbaq]: expected value or quoted"],
  ["labels.ns/key==value", "[labels.ns >|/|< key==value]: quoted literal not terminated"],
  ["labels.key==/value", "[labels.key== >|/|< value]: quoted literal not terminated"],
  ["labels.a/b/==c", '[labels.a >|/|< b/==c]: expected an operator ("=="|"!="|"~=")'],
  ["name==/foo/", "[name== >|/|< foo/]: invalid quote encountered"],
  ['labels."a\nb"', '[labels. >|"|< a\nb"]: quoted literal not terminated'],
  ['labels."\\g"', '[labels. >|"|< \\g"]: illegal escape sequence'],
  ['labels."\\xaz"', '[labels. >|"|< \\xaz"]: illegal numeric escape sequence'],
  ['labels."\\18"', '[labels. >|"|< \\18"]: illegal numeric escape sequence'],
  ['labels."\\777"', '[labels. >|"|< \\777"]: unquoting failed: quote syntax error'],
  ['labels."\\U00110000"', '[labels. >|"|< \\U00110000"]: unquoting failed: quote syntax error'],
  ['labels."\\xff"', '[labels. >|"|< \\xff"]: unquoting failed: its bytes are not UTF-8'],
  ["name~=/a\\.b/", "[name~= >|/|< a\\.b/]: illegal escape sequence"],
  ["foo\0bar", "[foo >|\0|< bar]: unexpected null"],
  ["interrupted=", '[interrupted >|=|< ]: unsupported operator "="'],
  ["a===b", '[a >|=|< ==b]: unsupported operator "==="'],
  ["a==", "[a==]: expected value or quoted"],
  ["a==b c", "[a==b >| |< c]: unexpected input:  "],
  ["name ", '[name ]: expected an operator ("=="|"!="|"~=")'],
  ["name~=[a", '[name~= >|[|< a]: regular expression "[a": missing closing ]: `[a`'],
];

for (const [filter, text] of REFUSED) {
  test(`${JSON.stringify(filter)} is refused, with the place`, () => {
    assert.equal(refusal(filter), `filters: parse error: ${text}: invalid argument`);
  });
}

test("no filter finds all, and of several one is enough", () => {
  assert.deepEqual(found(), ALL);
  assert.deepEqual(found("name==baz", "labels.bar"), [3, 6]);
  assert.deepEqual(found("name==baz", ""), ALL);
  assert.match(refusal("name==fine", "name=wrong"), /name >\|=\|< wrong/);
});

test("a value may be of any script", () => {
  assert.equal(
    parseFilters(["name~=牛,labels.moo==true"])(([first]) => (first === "name" ? "肥牛" : "true")),
    true,
  );
  assert.equal(
    parseFilters(['name=="\\xe7\\x89\\x9b"'])(() => "牛"),
    true,
  );
});

const text = fc.string({ unit: "grapheme", maxLength: 12 }).filter((value) => !/[\n\0\ufffd]/.test(value));
const quoted = (value: string): string => `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;

test("a quoted name and value find what has them, and only that", () => {
  fc.assert(
    fc.property(text, text, text, (name, value, other) => {
      const fields: Fields = ([first, second]) => (first === "labels" && second === name ? value : undefined);
      const finds = (operator: string): boolean =>
        parseFilters([`labels.${quoted(name)}${operator}${quoted(other)}`])(fields);
      assert.equal(finds("=="), value === other);
      assert.equal(finds("!="), value !== other);
    }),
  );
});

test("a value of plain characters needs no quotes", () => {
  const plain = fc
    .stringMatching(/^[A-Za-z0-9_:@/+-][A-Za-z0-9_:@/+=.-]{0,20}$/)
    .filter((value) => !value.startsWith("/"));
  fc.assert(
    fc.property(plain, (value) => {
      assert.equal(
        parseFilters([`image==${value},id`])(() => value),
        true,
      );
    }),
  );
});

test("whatever a client sends is taken or refused as an invalid argument", () => {
  const piece = fc.constantFrom(
    "name",
    ".",
    ",",
    "==",
    "~=",
    '"',
    "/",
    "|",
    "\\",
    "x41",
    "[",
    ")",
    "(?",
    " ",
    "牛",
    "\0",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 10 }), (pieces) => {
      try {
        parseFilters([pieces.join("")])(() => "name");
      } catch (error) {
        assert.ok(error instanceof TtrpcError && error.code === Code.INVALID_ARGUMENT, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
