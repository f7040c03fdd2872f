// A pull that is cut short at its steps: kill -9 of the daemon, a disk that is full, a lease that ends. The next pull succeeds, and nothing is left over.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { OCIRegistry } from "../../src/api/generated/transfer_types.ts";
import { CLIENT_LABEL } from "../../src/api/labels.ts";
import { processIdentity } from "../../src/platform/node-process.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Cli } from "../cli/cli.ts";
import { check } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { FaultyRegistry } from "./faulty-registry.ts";
import { makeImage } from "./image.ts";
import { end, store, TransferClient } from "./transfer-client.ts";

let daemon: Daemon;
let cli: Cli;
let registry: FaultyRegistry;
const image = makeImage({ layers: [1_200_000] });
const [, large] = image.layers;
before(async () => {
  registry = await FaultyRegistry.start();
  registry.add("1", image);
  daemon = await Daemon.start({ kind: "holdfastd" });
  cli = new Cli(daemon);
});
after(async () => {
  cli.close();
  await daemon.close();
  await registry.close();
});
const name = (): string => `${registry.host}/app:1`;

function below(...path: string[]): string[] {
  const directory = join(daemon.directory, "root", ...path);
  return existsSync(directory) ? readdirSync(directory) : [];
}

/** Neither on record nor on disk. */
async function isClean(): Promise<void> {
  for (const list of [
    ["images", "ls", "-q"],
    ["content", "ls", "-q"],
    ["leases", "ls", "-q"],
  ])
    assert.equal((await daemon.ctr.do(list)).trim(), "", list.join(" "));
  for (const path of [
    ["content", "blobs", "sha256"],
    ["content", "ingest"],
    ["snapshots", "overlayfs", "snapshots"],
  ])
    assert.deepEqual(below(...path), [], path.join("/"));
}

const PLACES = [
  "transfer:Write/write:response#3",
  "transfer:Write/commit:request#4",
  "transfer:Write/commit:response#4",
  "transfer:Content/Update:request#3",
  "snapshot:made#2",
  "transfer:Snapshots/Prepare:response",
  "transfer:Diff/Apply:request#2",
  "transfer:Diff/Apply:response",
  "transfer:Snapshots/Commit:response#2",
  "transfer:Images/Create:response",
  "transfer:Leases/Delete:request",
];

for (const place of PLACES) {
  test(`killed at ${place}`, async () => {
    await daemon.kill();
    await daemon.launch({ HOLDFAST_FAILPOINT: place });
    const broken = await cli.run(["pull", name()]);
    assert.notEqual(broken.status, 0, broken.stdout);
    await eventually(`the daemon's end (${broken.stderr.trim()})`, () => !daemon.isRunning);
    await daemon.launch();
    await cli.do(["pull", "-q", name()]);
    assert.equal((await cli.run(["run", "--rm", "--pull", "never", name()])).stdout, "pulled\n");
    await cli.do(["rmi", name()]);
    await isClean();
  });
}

test("what was in before a crash is not fetched again", async () => {
  await daemon.kill();
  await daemon.launch({ HOLDFAST_FAILPOINT: "transfer:Diff/Apply:response#2" });
  await cli.run(["pull", name()]);
  await eventually("the daemon's end", () => !daemon.isRunning);
  await daemon.launch();
  registry.reset();
  await cli.do(["pull", "-q", name()]);
  assert.equal(registry.asked(/GET .*blobs/).length, 0);
  await cli.do(["rmi", name()]);
  await isClean();
});

test("a lease of the client's that ends during a pull ends it too, and nothing stays", async () => {
  const client = await daemon.client();
  const transfers = new TransferClient(client.underLease("short"));
  let go: (() => void) | undefined;
  registry.fault = ({ method, path }, response, body) => {
    if (method !== "GET" || !path.includes(large?.digest ?? "none")) return false;
    go = () => response.end(body);
    return true;
  };
  // The lease is there as long as this runs.
  const holder = spawn("sleep", ["infinity"]);
  try {
    const labels = { [CLIENT_LABEL]: processIdentity(holder.pid) };
    await client.leases.create({ id: "short", labels });
    const resolver = { authStream: "", headers: {}, hostDir: "", defaultScheme: "http" };
    const from = end("OCIRegistry", OCIRegistry, { reference: name(), resolver });
    const pulling = assert.rejects(
      transfers.transfer(from, store({ name: name() })),
      (error: { code?: number; details?: string }) => {
        assert.equal(error.code, Code.NOT_FOUND);
        return /lease/.test(error.details ?? "");
      },
    );
    await eventually("the request for the layer", () => go !== undefined);
    holder.kill("SIGKILL");
    await eventually("the end of the lease", async () => {
      await client.leases.create({ id: "sweep", labels: {} });
      await client.leases.delete({ id: "sweep", sync: true });
      return !(await client.leases.list({ filters: [] })).leases.some(({ id }) => id === "short");
    });
    go?.();
    await pulling;
    registry.reset();
    await cli.do(["pull", "-q", name()]);
    await cli.do(["rmi", name()]);
    await isClean();
  } finally {
    holder.kill("SIGKILL");
    registry.reset();
    transfers.close();
    client.close();
  }
});

test("prune takes nothing from a pull that is under way", async () => {
  let go: (() => void) | undefined;
  registry.fault = ({ method, path }, response, body) => {
    if (method !== "GET" || !path.includes(large?.digest ?? "none")) return false;
    go = () => response.end(body);
    return true;
  };
  const pulling = cli.spawn(["pull", name()]);
  try {
    await eventually("the first layer's snapshot, and the request for the second", async () => {
      return go !== undefined && /Committed/.test(await daemon.ctr.do(["snapshots", "ls"]));
    });
    await cli.do(["prune", "-af"]);
    assert.match(await daemon.ctr.do(["snapshots", "ls"]), /Committed/);
    assert.ok((await daemon.ctr.do(["content", "ls", "-q"])).includes(image.manifest.digest));
    go?.();
    assert.equal((await pulling.exited).status, 0);
  } finally {
    registry.reset();
    pulling.kill("SIGKILL");
  }
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", name()])).stdout, "pulled\n");
  await cli.do(["prune", "-af"]);
  await isClean();
});

test("a disk that is full ends a pull with a word, and what came in makes room again", async () => {
  const root = join(daemon.directory, "small");
  mkdirSync(root);
  await check(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", root]);
  const small = await Daemon.start({ kind: "holdfastd", root });
  const smallCli = new Cli(small);
  try {
    registry.add("big", makeImage({ layers: [16_000_000] }));
    const full = await smallCli.run(["pull", `${registry.host}/app:big`]);
    assert.equal(full.status, 1, full.stdout);
    assert.match(full.stderr, /ENOSPC|no space left/);
    assert.equal((await small.ctr.do(["leases", "ls", "-q"])).trim(), "");
    assert.deepEqual((await small.ctr.do(["content", "active"])).trim().split("\n").slice(1), []);
    // No room for the first byte, for half of the layers, for their files, for all of these.
    const whole = [image.config, ...image.layers].reduce((sum, { size }) => sum + size, 0);
    for (const free of [8 << 10, whole / 2, whole * 1.1, whole * 1.5]) {
      const filler = join(root, "filler");
      const room = Number((await check(["df", "--output=avail", "-B1", root])).trim().split("\n").at(-1));
      writeFileSync(filler, Buffer.alloc(Math.max(0, room - Math.round(free))));
      const output = await smallCli.run(["pull", name()]);
      assert.equal(output.status, 1, `${free} bytes: ${output.stdout}`);
      assert.match(output.stderr, /no space|ENOSPC|full|cannot write/i, `${free} bytes`);
      rmSync(filler);
      await smallCli.do(["pull", "-q", name()]);
      await smallCli.do(["rmi", name()]);
      for (const list of [
        ["content", "ls", "-q"],
        ["leases", "ls", "-q"],
      ])
        assert.equal((await small.ctr.do(list)).trim(), "", `${free} bytes: ${list.join(" ")}`);
    }
    await smallCli.do(["pull", "-q", name()]);
    assert.equal((await smallCli.run(["run", "--rm", "--pull", "never", name()])).stdout, "pulled\n");
  } finally {
    smallCli.close();
    await small.close();
    await check(["umount", root]);
  }
});
