// A runtime that is killed when it has let the program go, and has not noted that: the start has succeeded, and no later one waits for a process that waits
// no more.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { Status } from "../../src/api/generated/process.ts";
import { Playground } from "../harness/direct-shim.ts";

const place = await Playground.create();
after(() => place.close());

/** A runc whose start does what runc's does up to the last step, and goes on with `then`. */
function halfStartingRunc(id: string, fifo: string, then: string): string {
  const path = join(place.directory, `runc-${id}`);
  const script = `#!/bin/sh
case "$*" in
*" start "*) runc "$@" && mkfifo ${fifo} && ${then} ;;
*) exec runc "$@" ;;
esac
`;
  writeFileSync(path, script, { mode: 0o755 });
  return path;
}

const HALVES: Record<string, (fifo: string) => string> = {
  "is killed when the program has begun": () => "kill -9 $$",
  "waits for a program that has begun": (fifo) => `exec cat ${fifo}`,
};

for (const [index, [what, then]] of Object.entries(HALVES).entries()) {
  test(`a runtime that ${what} has started it`, async () => {
    const id = `half-${index}`;
    const fifo = join(place.runtimeState(id), "exec.fifo");
    const shim = await place.shim(id, { args: ["sleep", "1000"] });
    const binaryName = halfStartingRunc(id, fifo, then(fifo));
    await shim.create(id, place.bundle(id), { options: { binaryName } });
    await shim.start(id);
    assert.equal((await shim.state(id)).status, Status.RUNNING);
    assert.equal(existsSync(fifo), false, "runc knows that it runs");
    await place.events.arrived("/tasks/start", id);
    await place.endContainer(shim, id);
    await place.forget(shim, id);
  });
}

test("a runtime that runs hooks after the program has begun is waited for", async () => {
  const id = "hooks";
  const done = join(place.directory, "hooks-done");
  const shim = await place.shim(id, { args: ["sleep", "1000"] });
  const config = join(place.bundle(id), "config.json");
  const spec = JSON.parse(readFileSync(config, "utf8")) as object;
  writeFileSync(config, JSON.stringify({ ...spec, hooks: { poststart: [{ path: "/bin/true" }] } }));
  const binaryName = halfStartingRunc(id, `${done}.fifo`, `sleep 3 && touch ${done}`);
  await shim.create(id, place.bundle(id), { options: { binaryName } });
  await shim.start(id);
  assert.equal(existsSync(done), true, "its hooks have ended");
  await place.endContainer(shim, id);
  await place.forget(shim, id);
});

test("nothing is left behind", async () => {
  assert.equal(await place.leftovers(), "");
});
