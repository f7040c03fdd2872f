// A shim that was leaving, its socket's name given up, when it was killed: whoever has the name by then keeps it.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { keeperOf } from "../harness/keeper.ts";
import { isRunning, processInfo } from "../harness/processes.ts";
import { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

for (const [name, deaths] of [
  ["by its successor", ""],
  ["by a keeper that gives up", ",resume:begun,resume:begun"],
] as const) {
  test(`the name that another shim has taken is not removed ${name}`, async () => {
    const id = `leaves${deaths === "" ? "" : "-thrice"}`;
    // The keeper stands still until the name is another's.
    const env = { HOLDFAST_FAILPOINT: `leave:unnamed${deaths},keeper:before-engine=stop` };
    const former = await place.shim(id, { args: ["true"] }, { env });
    const keeper = keeperOf((await former.connect(id)).shimPid);
    assert.ok(keeper !== undefined);
    const leaving = former.shutdown(id).catch(() => {});
    await eventually("the keeper to stand still", () => processInfo(keeper)?.state === "T");
    const address = await place.start(id);
    process.kill(keeper, "SIGCONT");
    await eventually("the end of the former", () => !isRunning(keeper));
    await leaving;
    former.close();
    assert.ok(existsSync(address.replace("unix://", "")), "the socket has its name");
    const shim = await ShimClient.connect(address);
    await shim.create(id, place.bundle(id));
    await place.endContainer(shim, id);
    await place.forget(shim, id);
  });
}

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
