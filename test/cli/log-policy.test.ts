// `holdfast run --log-policy`: a client that does not read holds nothing up, and it can be seen what has become of the output.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { isGoShim } from "../harness/runtime.ts";
import { onDaemon } from "./cli.ts";

const skip = isGoShim ? "the Go shim knows no policy" : false;
/** About 6.9 MB. */
const LINES = 1_000_000;
const BYTES = 6_888_896;

interface Inspected {
  readonly status: string;
  readonly output: {
    readonly policy: string;
    readonly droppedBytes: number;
    readonly waitingBytes: number;
  } | null;
}

const { daemon, cli } = await onDaemon();

function args(name: string, ...flags: string[]): string[] {
  daemon.ctr.ids.add(name);
  const script = `echo begun; until [ -e /tmp/go-${name} ]; do sleep 0.05; done; seq 1 ${LINES}; exit 9`;
  return ["run", "--name", name, "--rootfs", daemon.rootfs, ...flags, "--", "sh", "-c", script];
}

async function inspect(name: string): Promise<Inspected> {
  const [found] = (await cli.json(["inspect", name])) as Inspected[];
  assert.ok(found !== undefined);
  return found;
}

for (const [policy, flags] of [
  ["drop", ["--log-policy", "drop"]],
  ["spill:32m", ["--log-policy", "spill:32m"]],
  ["spill", ["--annotation", "io.holdfast.stdout=spill"]],
] as const) {
  const name = policy.replace(":", "-");
  test(`${flags.join(" ")}: a client that is stopped does not hold its container up`, { skip }, async () => {
    const client = cli.spawn(args(name, ...flags));
    await client.printed(/begun/);
    client.kill("SIGSTOP");
    writeFileSync(join(daemon.rootfs, "tmp", `go-${name}`), "");
    await eventually("the container to end", async () => (await inspect(name)).status === "stopped");
    const { output } = await inspect(name);
    assert.equal(output?.policy, policy);
    const [lost, other] =
      policy === "drop"
        ? (["droppedBytes", "waitingBytes"] as const)
        : (["waitingBytes", "droppedBytes"] as const);
    assert.ok(output[lost] > 4 << 20, JSON.stringify(output));
    assert.equal(output[other], 0);
    client.kill("SIGCONT");
    const { status, stdout } = await client.exited;
    assert.equal(status, 9);
    // What was in the pipe when the container ended may have been dropped since.
    const last = (await inspect(name)).output;
    assert.equal(stdout.length, "begun\n".length + BYTES - (last?.droppedBytes ?? 0));
    await cli.do(["delete", name]);
    assert.equal(await daemon.leftovers(), "");
  });
}

test("stats shows what is dropped of the containers that may, and null of others", { skip }, async () => {
  const client = cli.spawn(args("figures", "--log-policy", "drop"));
  const plain = cli.spawn(args("plain"));
  await Promise.all([client.printed(/begun/), plain.printed(/begun/)]);
  const table = await cli.do(["stats", "--interval", "10ms"]);
  assert.match(table, /^ID .* DROPPED +WAITING$/m);
  assert.match(table, /^figures .* 0 B +0 B$/m);
  assert.match(table, /^plain .* - +-$/m);
  const rows = (await cli.json(["stats", "--interval", "10ms"])) as {
    id: string;
    outputDroppedBytes: number | null;
  }[];
  assert.deepEqual(
    rows.map(({ id, outputDroppedBytes }) => [id, outputDroppedBytes]),
    [
      ["figures", 0],
      ["plain", null],
    ],
  );
  for (const [each, name] of [
    [client, "figures"],
    [plain, "plain"],
  ] as const) {
    await cli.do(["kill", "-s", "KILL", name]);
    await each.exited;
    await cli.do(["delete", name]);
  }
});

test("a policy that is none is refused before anything is made, by whichever flag", async () => {
  for (const [flags, words] of [
    [
      ["--log-policy", "never"],
      /^holdfast: --log-policy: unknown output policy "never": give block, drop, spill or spill:SIZE$/m,
    ],
    [
      ["--log-policy", "spill:3"],
      /^holdfast: --log-policy: output policy spill:3: the size must be a number from 1m to 1t, such as 64m$/m,
    ],
    [
      ["--annotation", "io.holdfast.stdout=no"],
      /^holdfast: --annotation io.holdfast.stdout: unknown output policy "no"/m,
    ],
  ] as const) {
    for (const verb of ["run", "create"]) {
      const output = await cli.run([
        verb,
        "--name",
        "refused",
        "--rootfs",
        daemon.rootfs,
        ...flags,
        "--",
        "true",
      ]);
      assert.equal(output.status, verb === "run" ? 125 : 2, output.stderr);
      assert.match(output.stderr, words);
    }
  }
  assert.equal(await cli.do(["ps", "-aq"]), "");
});
