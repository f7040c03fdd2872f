// Our client and server against a real Go ttrpc peer: Debian's shim serves the task API to our client and publishes its events to our server.

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { closeSync, constants, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { EventsDefinition } from "../../src/api/generated/forward.ts";
import { TaskDefinition } from "../../src/api/generated/task.ts";
import { listen, nodeClock, nodeNet } from "../../src/platform/node.ts";
import { TtrpcClient } from "../../src/ttrpc/client.ts";
import type { CallContext } from "../../src/ttrpc/definition.ts";
import { TtrpcServer } from "../../src/ttrpc/server.ts";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { createClient } from "../../src/ttrpc/typed-client.ts";
import { killForGood } from "../harness/keeper.ts";
import { gate, socketDirectory } from "./sockets.ts";

const SHIM = "/usr/bin/containerd-shim-runc-v2";
const BUSYBOX = "/bin/busybox";
const NAMESPACE = "holdfast-ttrpc-test";
const METADATA = new Map([["containerd-namespace-ttrpc", [NAMESPACE]]]);

const needs = [SHIM, BUSYBOX].filter((file) => !existsSync(file));
if (process.getuid?.() !== 0) needs.push("root");
const skip = needs.length > 0 && `needs ${needs.join(", ")}`;

/** A bundle whose container prints nothing and exits with 7. */
function makeBundle(directory: string): string {
  const bundle = join(directory, "bundle");
  mkdirSync(join(bundle, "rootfs/bin"), { recursive: true });
  mkdirSync(join(bundle, "rootfs/proc"));
  const config = {
    ociVersion: "1.0.2",
    process: { user: { uid: 0, gid: 0 }, args: ["/bin/busybox", "sh", "-c", "exit 7"], cwd: "/" },
    root: { path: "rootfs", readonly: true },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/bin", type: "bind", source: "/bin", options: ["bind", "ro"] },
    ],
    linux: { namespaces: [{ type: "pid" }, { type: "mount" }] },
  };
  writeFileSync(join(bundle, "config.json"), JSON.stringify(config));
  return bundle;
}

interface Forwarded {
  readonly topic: string;
  readonly namespace: string;
  readonly context: CallContext;
}

/** Serves the events service; `exited` opens with the exit of the task. */
async function serveEvents(context: TestContext, path: string) {
  const forwarded: Forwarded[] = [];
  const exited = gate();
  const server = new TtrpcServer(nodeClock);
  server.register(EventsDefinition, {
    forward({ envelope }, call) {
      forwarded.push({ topic: envelope?.topic ?? "", namespace: envelope?.namespace ?? "", context: call });
      if (envelope?.topic === "/tasks/exit") exited.open();
      return {};
    },
  });
  const listener = await listen(path, 0o600, (stream) => server.accept(stream));
  context.after(() => {
    server.close();
    listener.close();
  });
  return { forwarded, exited: exited.opened };
}

test("a Go shim and we understand each other, as client and as server", { skip }, async (t) => {
  const directory = socketDirectory(t);
  t.after(() => rmSync(join("/run/containerd/runc", NAMESPACE), { recursive: true, force: true }));
  const bundle = makeBundle(directory);
  const events = await serveEvents(t, join(directory, "c.ttrpc"));
  // The shim logs to a fifo that its daemon makes and reads.
  execFileSync("mkfifo", [join(bundle, "log")]);
  const log = openSync(join(bundle, "log"), constants.O_RDWR);
  t.after(() => closeSync(log));
  const id = `t${process.pid}`;
  const starting = promisify(execFile)(
    SHIM,
    [
      "-namespace",
      NAMESPACE,
      "-address",
      join(directory, "c"),
      "-publish-binary",
      "/bin/true",
      "-id",
      id,
      "start",
    ],
    { cwd: bundle, env: { TTRPC_ADDRESS: join(directory, "c.ttrpc"), PATH: process.env.PATH } },
  );
  // It reads options from stdin up to its end.
  starting.child.stdin?.end();
  const { stdout } = await starting;
  const ended = gate();
  const connection = new TtrpcClient(
    await nodeNet.connect(stdout.trim().slice("unix://".length)),
    nodeClock,
    ended.open,
  );
  const task = createClient(TaskDefinition, connection);
  const options = { timeoutMs: 10_000, metadata: METADATA };
  const { shimPid } = await task.connect({ id }, options);
  t.after(() => connection.closed || killForGood(shimPid));

  await assert.rejects(task.state({ id: "no-such", execId: "" }, options), (error) => {
    assert.ok(error instanceof TtrpcError);
    assert.equal(error.code, Code.NOT_FOUND);
    return true;
  });
  await assert.rejects(
    createClient(TaskDefinition, connection, "no.such.Service").state({ id, execId: "" }, options),
    (error) => error instanceof TtrpcError && error.code === Code.UNIMPLEMENTED,
  );

  const streams = { stdin: "", stdout: "", stderr: "", terminal: false };
  const { pid } = await task.create(
    { id, bundle, rootfs: [], checkpoint: "", parentCheckpoint: "", options: undefined, ...streams },
    options,
  );
  assert.ok(pid > 0);
  // Concurrent calls on one connection: the wait is answered last.
  const wait = task.wait({ id, execId: "" }, options);
  assert.equal((await task.start({ id, execId: "" }, options)).pid, pid);
  assert.equal((await wait).exitStatus, 7);
  await events.exited;
  assert.equal((await task.delete({ id, execId: "" }, options)).exitStatus, 7);
  await task.shutdown({ id, now: true }, options).catch((error: unknown) => {
    // A Go shim may be gone before its answer.
    assert.ok(error instanceof TtrpcError && error.code === Code.UNAVAILABLE);
  });
  await ended.opened;
  await assert.rejects(task.state({ id, execId: "" }, options), /closed/);

  assert.deepEqual(
    events.forwarded.map((event) => event.topic).filter((topic) => topic !== "/tasks/delete"),
    ["/tasks/create", "/tasks/start", "/tasks/exit"],
  );
  for (const { namespace, context } of events.forwarded) {
    assert.equal(namespace, NAMESPACE);
    assert.deepEqual(context.metadata.get("containerd-namespace-ttrpc"), [NAMESPACE]);
    assert.ok((context.deadlineMs ?? 0) > context.startedMs);
  }
});
