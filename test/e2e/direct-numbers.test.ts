// Numbers that JavaScript cannot hold pass through the shim unchanged: limits are unsigned 64-bit integers, and "unlimited" is the largest of them.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { SPEC_LINUX_RESOURCES, SPEC_PROCESS } from "../../src/api/any.ts";
import { Playground } from "../harness/direct-shim.ts";
import type { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

/** A runc that keeps what it is given to read. */
const keeper = join(place.directory, "keeping-runc");
const kept = join(place.directory, "kept");
writeFileSync(
  keeper,
  `#!/bin/sh
previous=
for word; do
  [ "$previous" = --process ] && cp "$word" ${kept}
  previous=$word
done
case " $* " in *" update "*) tee ${kept} | /usr/sbin/runc "$@" ;; *) exec /usr/sbin/runc "$@" ;; esac
`,
  { mode: 0o755 },
);

const any = (typeUrl: string, json: string) => ({ typeUrl, value: new TextEncoder().encode(json) });

async function running(id: string): Promise<ShimClient> {
  const shim = await place.shim(id, { args: ["sleep", "1000"] });
  await shim.create(id, place.bundle(id), { options: { binaryName: keeper } });
  await shim.start(id);
  return shim;
}

/** Runs a process of that JSON in the container; resolves with its exit status. */
async function execute(shim: ShimClient, id: string, execId: string, spec: string, terminal = false) {
  const stdio = { terminal, stdin: "", stdout: "", stderr: "" };
  await shim.task.exec({ id, execId, ...stdio, spec: any(SPEC_PROCESS, spec) });
  await shim.start(id, execId);
  return (await shim.wait(id, execId)).exitStatus;
}

const limits = (rest: string): string =>
  `{ "args": ["sh", "-c", "test $(ulimit -c) = unlimited"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid":0,"gid":0},
  "rlimits": [{"type": "RLIMIT_CORE", "hard": 18446744073709551615, "soft": 18446744073709551615}]${rest} }`;

test("an exec's limits of 2^64-1 reach the process, and its specification the runtime byte for byte", async () => {
  const shim = await running("limits");
  for (const [execId, rest] of [
    ["absent", ""],
    ["same", ', "terminal" : false'],
  ] as const) {
    assert.equal(await execute(shim, "limits", execId, limits(rest)), 0);
    assert.equal(readFileSync(kept, "utf8"), limits(rest));
  }
  await place.endContainer(shim, "limits");
  await place.forget(shim, "limits");
});

test("where the request decides about the terminal, nothing but that is changed", async () => {
  const shim = await running("terminal");
  const spec = (terminal: boolean): string => limits(`, "terminal" : ${terminal}, "oomScoreAdj": -0`);
  assert.equal(await execute(shim, "terminal", "off", spec(true), false), 0);
  assert.equal(readFileSync(kept, "utf8"), spec(false));
  assert.equal(await execute(shim, "terminal", "on", spec(false), true), 0);
  assert.equal(readFileSync(kept, "utf8"), spec(true));
  await place.endContainer(shim, "terminal");
  await place.forget(shim, "terminal");
});

test("resources of an update reach the runtime byte for byte", async () => {
  const shim = await running("update");
  const resources =
    '{ "memory": {"limit": 9223372036854771712}, "cpu": {"shares": 512}, "pids": {"limit": -1} }';
  await shim.task.update({ id: "update", annotations: {}, resources: any(SPEC_LINUX_RESOURCES, resources) });
  assert.equal(readFileSync(kept, "utf8"), resources);
  await place.endContainer(shim, "update");
  await place.forget(shim, "update");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
