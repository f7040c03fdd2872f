// Writers of one ingest, one after the other: what a writer removes as it ends is its own.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Blobs } from "../../src/images/blobs.ts";
import { Ingests, type Writer } from "../../src/images/ingests.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";

const place = mkdtempSync(join(tmpdir(), "holdfast-ingests-"));
after(() => rmSync(place, { recursive: true, force: true }));

const ingests = new Ingests(new Blobs(place));
const open = (ref: string): Promise<Writer> =>
  ingests.open({ namespace: "one", ref, total: 0, expected: "" });

/** The next writer, which tries all the time while the one before it ends. */
async function openWhile(ref: string, ends: Promise<unknown>): Promise<Writer> {
  let hasEnded = false;
  void ends.finally(() => {
    hasEnded = true;
  });
  for (;;) {
    const isLast = hasEnded;
    try {
      return await open(ref);
    } catch (error) {
      if (isLast || !(error instanceof TtrpcError && error.code === Code.UNAVAILABLE)) throw error;
      await new Promise((next) => setImmediate(next));
    }
  }
}

const ENDS: Record<string, (writer: Writer) => Promise<unknown>> = {
  discard: (writer) => writer.discard(),
  commit: (writer) => writer.commit(0, ""),
};

for (const [how, end] of Object.entries(ENDS)) {
  test(`who writes on as another's ${how} ends has an ingest of its own`, async () => {
    for (let round = 0; round < 20; round++) {
      const first = await open(how);
      await first.write(Buffer.from(`${how} ${round}`));
      const ends = end(first);
      const next = await openWhile(how, ends);
      await ends;
      assert.equal(next.offset, 0);
      await next.write(Buffer.from("next"));
      assert.equal(ingests.status("one", how).offset, 4, `round ${round}`);
      await next.discard();
      assert.deepEqual(ingests.list(), []);
    }
  });
}
