// The check of imports: that it refuses what it is for. The real tree is checked by npm run check.
import assert from "node:assert/strict";
import { test } from "node:test";
import { diagram, readImports, violations } from "../../scripts/floors.ts";

test("the tree as it is has no import that goes up", () => {
  const imports = readImports();
  assert.ok(imports.size > 100);
  assert.deepEqual(violations(imports), []);
});

test("an import that goes up is refused", () => {
  const imports = new Map([...readImports(), ["src/task/fresh.ts", ["src/shim/serve.ts"]]]);
  assert.deepEqual(violations(imports), ["src/task/fresh.ts must not import src/shim/serve.ts"]);
});

test("a folder that nobody has put on a floor may import nothing, and nobody may import it", () => {
  const imports = new Map([
    ["src/fresh/a.ts", ["src/platform/platform.ts"]],
    ["src/task/b.ts", ["src/fresh/a.ts"]],
  ]);
  assert.equal(violations(imports).length, 2);
});

test("a circle of files is refused, also within a folder", () => {
  const imports = new Map([
    ["src/task/a.ts", ["src/task/b.ts"]],
    ["src/task/b.ts", ["src/task/c.ts"]],
    ["src/task/c.ts", ["src/task/a.ts"]],
  ]);
  assert.deepEqual(violations(imports), [
    "a circle: src/task/a.ts → src/task/b.ts → src/task/c.ts → src/task/a.ts",
  ]);
});

test("the picture has an arrow for each import between folders, once", () => {
  const imports = new Map([
    ["src/task/a.ts", ["src/runc/b.ts", "src/runc/c.ts", "src/task/d.ts"]],
    ["src/runc/b.ts", ["src/platform/e.ts"]],
  ]);
  assert.match(
    diagram(imports),
    /flowchart TD\n {2}src\/task --> src\/runc\n {2}src\/runc --> src\/platform\n```/,
  );
});
