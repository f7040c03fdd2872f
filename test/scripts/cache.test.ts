// The build's memory: what two programs want at once is made once.
import assert from "node:assert/strict";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cache, cached } from "../../scripts/cache.ts";

const KIND = "test";
const NAME = `cache-${process.pid}`;
after(() => rmSync(join(cache, KIND, NAME), { force: true }));

test("a file that is wanted twice at once is made once, and one that could not be made is made anew", async () => {
  let made = 0;
  const failing = (): Promise<string> =>
    cached(KIND, NAME, "", async () => {
      await sleep(1);
      throw new Error(`no ${++made}`);
    });
  await Promise.all([1, 2].map(() => assert.rejects(failing(), /no 1/)));
  const make = (): Promise<string> =>
    cached(KIND, NAME, "", async (path) => {
      await sleep(1);
      writeFileSync(path, String(++made));
    });
  const paths = await Promise.all([make(), make()]);
  assert.equal(paths[0], paths[1]);
  assert.equal(readFileSync(paths[0] ?? "", "utf8"), "2");
  assert.equal(await make(), paths[0]);
  assert.equal(made, 2);
});
