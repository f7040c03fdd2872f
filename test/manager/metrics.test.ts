// What Prometheus gets, over a real socket.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { Metrics } from "../../src/manager/metrics/metrics.ts";
import { isLoopback, serveMetrics } from "../../src/manager/metrics/metrics-server.ts";
import { run } from "../harness/command.ts";
import { putOnRecord, remove, start } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-metrics-"));
after(() => rmSync(directory, { recursive: true }));

const unexpected = (warning: string): never => assert.fail(warning);

const serve = (metrics: Metrics, address: string) =>
  serveMetrics({ metrics, containers: () => Promise.resolve([]) }, address, unexpected);

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly body: string;
}

async function ask(
  place: { socketPath: string } | { port: number; host: string },
  path = "/metrics",
  method = "GET",
): Promise<Answer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ ...place, path, method }, resolve)
      .once("error", reject)
      .end();
  });
  return { status: response.statusCode, type: response.headers["content-type"], body: await text(response) };
}

function listening(server: Server, place: string | { port: number; host: string }): Promise<void> {
  return new Promise((resolve, reject) => server.once("error", reject).listen(place, resolve));
}

/** A port that is free, below those that the kernel gives to whoever wants just any: nobody else gets it meanwhile. */
async function freePort(host: string): Promise<number> {
  const [lowest = 0] = readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8").split("\t").map(Number);
  for (let port = lowest - 1; ; port--) {
    const server = createServer();
    try {
      await listening(server, { port, host });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "EADDRINUSE") continue;
      throw error;
    }
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

test("calls, events, shims and tasks are counted, and the process is measured", async () => {
  const socketPath = join(directory, "counts.sock");
  const metrics = new Metrics();
  const tasks = ["moby", "moby", "default"];
  metrics.trackTasks(() => tasks);
  metrics.observeCall("tasks", "Create", "OK", 0.2);
  metrics.observeCall("tasks", "Create", "OK", 0.002);
  metrics.countEvent("/tasks/exit");
  metrics.countShimStart(true);
  metrics.countShimStart(false);
  const listener = await serve(metrics, socketPath);
  try {
    const { status, type, body } = await ask({ socketPath });
    assert.equal(status, 200);
    assert.match(type ?? "", /^text\/plain; version=0\.0\.4/);
    const lines = body.split("\n");
    for (const line of [
      'holdfast_call_seconds_count{service="tasks",method="Create",code="OK"} 2',
      'holdfast_call_seconds_bucket{le="0.003",service="tasks",method="Create",code="OK"} 1',
      'holdfast_events_total{topic="/tasks/exit"} 1',
      'holdfast_shim_starts_total{result="ok"} 1',
      'holdfast_shim_starts_total{result="failed"} 1',
      'holdfast_tasks{namespace="moby"} 2',
      'holdfast_tasks{namespace="default"} 1',
    ])
      assert.ok(lines.includes(line), `${line}\nis not in\n${body}`);
    assert.match(body, /^holdfast_process_resident_memory_bytes [1-9]/m);
    tasks.splice(0, 2);
    const later = (await ask({ socketPath })).body;
    assert.doesNotMatch(later, /namespace="moby"/);
    assert.match(later, /^holdfast_tasks\{namespace="default"\} 1$/m);
  } finally {
    listener.close();
  }
  assert.equal(existsSync(socketPath), false);
});

test("there is GET /metrics and nothing else", async () => {
  const socketPath = join(directory, "paths.sock");
  const listener = await serve(new Metrics(), socketPath);
  try {
    assert.equal((await ask({ socketPath }, "/metrics?name[]=x")).status, 200);
    assert.equal((await ask({ socketPath }, "/")).status, 404);
    assert.equal((await ask({ socketPath }, "/metrics/x")).status, 404);
    assert.equal((await ask({ socketPath }, "/metrics", "POST")).status, 405);
    const head = await ask({ socketPath }, "/metrics", "HEAD");
    assert.deepEqual([head.status, head.body], [200, ""]);
    assert.match(head.type ?? "", /^text\/plain; version=/);
  } finally {
    listener.close();
  }
});

test("topics of a client's own making do not grow without end", async () => {
  const socketPath = join(directory, "topics.sock");
  const metrics = new Metrics();
  for (let n = 0; n < 1000; n++) metrics.countEvent(`/made/up-${n}`);
  metrics.countEvent("/made/up-0");
  const listener = await serve(metrics, socketPath);
  try {
    const lines = (await ask({ socketPath })).body.match(/^holdfast_events_total.*$/gm) ?? [];
    assert.equal(lines.length, 101);
    assert.ok(lines.includes('holdfast_events_total{topic="/made/up-0"} 2'));
    assert.ok(lines.includes('holdfast_events_total{topic="other"} 900'));
  } finally {
    listener.close();
  }
});

for (const host of ["127.0.0.1", "::1"]) {
  test(`metrics at ${host} are for this machine, and nothing is warned of`, async (t) => {
    const port = await freePort(host).catch(() => undefined);
    if (port === undefined) return t.skip(`no ${host} here`);
    const listener = await serve(new Metrics(), host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);
    try {
      assert.equal((await ask({ host, port })).status, 200);
    } finally {
      listener.close();
    }
  });
}

test("an address that other machines reach is known as one", () => {
  for (const address of ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
    assert.equal(isLoopback(address), true);
  for (const address of ["0.0.0.0", "::", "10.0.0.1", "fe80::1", "::ffff:10.0.0.1"])
    assert.equal(isLoopback(address), false);
});

test("a dead server's socket is taken over; a living one's, and a file, are left alone", async () => {
  const dead = join(directory, "dead.sock");
  const program = `require("net").createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, "SIGKILL"))`;
  await run([process.execPath, "-e", program]);
  assert.equal(existsSync(dead), true);
  (await serve(new Metrics(), dead)).close();

  const living = join(directory, "living.sock");
  const server = createServer((socket) => socket.end());
  await listening(server, living);
  await assert.rejects(serve(new Metrics(), living), {
    message: `cannot serve metrics at ${living}: ${living}: another daemon serves there`,
  });
  assert.equal(existsSync(living), true);
  server.close();

  const file = join(directory, "precious");
  writeFileSync(file, "text");
  await assert.rejects(serve(new Metrics(), file), {
    message: /precious exists and is no socket/,
  });
  assert.equal(readFileSync(file, "utf8"), "text");
});

test("a port that is taken is an error that names it", async () => {
  const server = createServer();
  await listening(server, { port: 0, host: "127.0.0.1" });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  await assert.rejects(serve(new Metrics(), `127.0.0.1:${port}`), {
    message: new RegExp(`^cannot serve metrics at 127\\.0\\.0\\.1:${port}: .*EADDRINUSE`),
  });
  server.close();
});

test("promtool finds nothing wrong with them, containers' figures included", async () => {
  const daemon = await Daemon.start({
    kind: "holdfastd",
    config: [`metrics_address = "${join(directory, "d.sock")}"`],
  });
  const client = await daemon.client();
  try {
    await start(daemon, client, "lives", ["sleep", "1000"]);
    await start(daemon, client, "ended", ["sh", "-c", "exit 3"]);
    await client.tasks.wait({ containerId: "ended", execId: "" });
    await putOnRecord(daemon, client, "idle", ["true"]);
    const socketPath = join(directory, "d.sock");
    const body = await eventually("the exit to be counted", async () => {
      const { body } = await ask({ socketPath }, "/metrics?containers=1");
      const isWhole = body.includes("holdfast_task_exits_total{") && body.includes("task_starts_total 2\n");
      return isWhole ? body : undefined;
    });
    const file = join(directory, "metrics");
    writeFileSync(file, body);
    const checked = await run(["sh", "-c", `promtool check metrics <${file}`]);
    assert.deepEqual([checked.status, checked.stdout, checked.stderr], [0, "", ""]);
    const { namespace } = daemon;
    for (const [name, value] of [
      [`holdfast_containers{namespace="${namespace}",state="running"}`, "1"],
      [`holdfast_containers{namespace="${namespace}",state="stopped"}`, "1"],
      [`holdfast_containers{namespace="${namespace}",state="none"}`, "1"],
      [`holdfast_task_exits_total{cause="exited",result="failed"}`, "1"],
      ["holdfast_task_starts_total", "2"],
      ["holdfast_task_run_seconds_count", "1"],
    ])
      assert.ok(body.split("\n").includes(`${name} ${value}`), `${name} ${value}\nis not in\n${body}`);
    assert.match(
      body,
      new RegExp(
        `^holdfast_container_memory_bytes\\{namespace="${namespace}",container="lives"\\} [1-9]`,
        "m",
      ),
    );
    assert.match(
      body,
      new RegExp(`^holdfast_container_processes\\{namespace="${namespace}",container="lives"\\} 1$`, "m"),
    );
    assert.doesNotMatch((await ask({ socketPath })).body, /holdfast_container_/);
    for (const line of body.split("\n").filter((each) => each !== "" && !each.startsWith("#"))) {
      const name = /^\w+/.exec(line)?.[0].replace(/_(bucket|sum|count)$/, "") ?? "";
      assert.match(body, new RegExp(`^# HELP ${name}`, "m"));
      assert.match(body, new RegExp(`^# TYPE ${name}`, "m"));
    }
    for (const id of ["lives", "ended"]) await remove(client, id);
    await client.containers.delete({ id: "idle" });
  } finally {
    client.close();
    await daemon.close();
  }
});
