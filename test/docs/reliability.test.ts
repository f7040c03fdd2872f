// docs/reliability.md names tests and campaigns that are there.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { campaigns } from "../campaigns/catalogue.ts";

const root = join(import.meta.dirname, "../..");
const page = readFileSync(join(root, "docs/reliability.md"), "utf8");
const [rows = "", table = ""] = page.split(/^## /m).filter((section) => !section.startsWith("Failpoints"));

test("each file that a row names is there, and has the tests that it names", () => {
  let titles = 0;
  for (const row of rows.split("\n").filter((line) => line.startsWith("| ") && !line.startsWith("| what"))) {
    const shown = row.split(" | ")[1] ?? "";
    assert.match(shown, /`/, row);
    let text = "";
    for (const [, path, title] of shown.matchAll(/`(test\/[^`]+)`|"([^"]+)"/g)) {
      if (path !== undefined) {
        assert.ok(existsSync(join(root, path)), `${path}: no such file`);
        text = readFileSync(join(root, path), "utf8");
      } else {
        titles++;
        assert.ok(text.includes(title ?? ""), `no test "${title}" in the file before it: ${shown}`);
      }
    }
  }
  assert.ok(titles > 20);
});

test("every campaign has a row, and every campaign that a row names is there", () => {
  const names = campaigns.map(({ name }) => name);
  const listed = [...table.matchAll(/^\| `([^`]+)` \|/gm)].map(([, name]) => name);
  assert.deepEqual([...new Set(listed)].sort(), [...names].sort());
  for (const [, name = ""] of rows.matchAll(/campaign `([^`]+)`/g)) assert.ok(names.includes(name), name);
});
