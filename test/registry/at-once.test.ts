// Several pull one image at once, by unmodified ctr, which writes the content itself, and by holdfast, for which the daemon does: whoever comes second waits
// for the first's writes or goes on with what is left of them, and all have the image.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import { Running } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually, patience } from "../harness/eventually.ts";
import { FaultyRegistry } from "./faulty-registry.ts";
import { makeImage } from "./image.ts";

const daemon = await Daemon.start();
const cli = new Cli(daemon);
const { ctr } = daemon;
let registry: FaultyRegistry;
before(async () => {
  registry = await FaultyRegistry.start();
});
afterEach(() => registry.reset());
after(async () => {
  cli.close();
  await registry.close();
  await daemon.close();
});

const LAYER_BYTES = 3_000_000;
function offer(): { name: string; large: string } {
  return registry.offer(makeImage({ layers: [LAYER_BYTES] }));
}

const start = {
  ctr: (name: string) =>
    new Running(["ctr", ...ctr.base, "images", "pull", "--plain-http", name], {
      timeoutMs: patience(120_000),
    }),
  holdfast: (name: string) => cli.spawn(["pull", name]),
};

async function succeeds(pull: Running): Promise<void> {
  const { status, stderr } = await pull.exited;
  assert.equal(status, 0, stderr);
}

/** It runs, and when it is removed nothing of it is left. */
async function isWhole(name: string): Promise<void> {
  assert.equal(await cli.do(["run", "--rm", "--pull", "never", name]), "pulled\n");
  await ctr.do(["images", "rm", "--sync", name]);
  for (const what of [
    ["content", "ls", "-q"],
    ["images", "ls", "-q"],
    ["leases", "ls", "-q"],
  ])
    assert.equal((await ctr.do(what)).trim(), "", what.join(" "));
  for (const what of [
    ["snapshots", "ls"],
    ["content", "active"],
  ])
    assert.deepEqual((await ctr.do(what)).trim().split("\n").slice(1), [], what.join(" "));
}

/** Half of the layer for whoever asks first, and no more of it before `go` is called. */
function halfOf(digest: string): { go: () => void } {
  let [asked, finish] = [0, (): void => {}];
  registry.fault = ({ method, path }, response, body = Buffer.alloc(0)) => {
    if (method !== "GET" || !path.includes(digest) || asked++ > 0) return false;
    response.writeHead(200, { "content-length": body.length });
    response.write(body.subarray(0, body.length / 2));
    finish = () => response.end(body.subarray(body.length / 2));
    return true;
  };
  return { go: () => finish() };
}

/** One that has come to the registry: all that it lacks is the layer that the other is at. */
async function secondPull(by: keyof typeof start, name: string): Promise<Running> {
  const before = registry.seen.length;
  const pull = start[by](name);
  await eventually("the second pull to ask the registry", () => registry.seen.length > before);
  return pull;
}

const isUnderWay = (): Promise<unknown> =>
  eventually("half of the layer", async () =>
    /layer-\S+\s+1\.\d+ *Mi?B/.test(await ctr.do(["content", "active"])),
  );

test("ctr three times, and holdfast with it, of one image", async () => {
  const { name } = offer();
  const pulls = (["ctr", "ctr", "holdfast", "ctr"] as const).map((by) => start[by](name));
  for (const pull of pulls) await succeeds(pull);
  await isWhole(name);
});

for (const [first, second] of [
  ["ctr", "ctr"],
  ["ctr", "holdfast"],
  ["holdfast", "ctr"],
] as const) {
  test(`${second} waits for the write of a layer that ${first} is at`, async () => {
    const { name, large } = offer();
    const layer = halfOf(large);
    const one = start[first](name);
    await isUnderWay();
    const two = await secondPull(second, name);
    layer.go();
    for (const pull of [one, two]) await succeeds(pull);
    await isWhole(name);
  });

  test(`${second} goes on when ${first} is killed over the write of a layer`, async () => {
    const { name, large } = offer();
    halfOf(large);
    const one = start[first](name);
    await isUnderWay();
    const two = await secondPull(second, name);
    one.kill("SIGKILL");
    await one.exited;
    await succeeds(two);
    // That of the killed ctr stays for a day; that of the killed holdfast may go just now.
    for (const lease of (await ctr.do(["leases", "ls", "-q"])).split("\n").filter((each) => each !== ""))
      await ctr.try(["leases", "rm", "--sync", lease]);
    await isWhole(name);
  });
}
