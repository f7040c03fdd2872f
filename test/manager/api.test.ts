// The services of holdfastd as clients of containerd expect them: records, masks, filters, leases, health, and what is honestly absent.
import assert from "node:assert/strict";
import { request } from "node:http";
import { join } from "node:path";
import { after, test } from "node:test";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import type { Container } from "../../src/api/generated/containers.ts";
import type { Envelope } from "../../src/api/generated/events.ts";
import {
  HealthCheckResponse_ServingStatus as Health,
  HealthDefinition,
} from "../../src/api/generated/health.ts";
import { IntrospectionDefinition } from "../../src/api/generated/introspection.ts";
import { LeasesDefinition } from "../../src/api/generated/leases.ts";
import { TasksDefinition, type WaitRequest } from "../../src/api/generated/tasks.ts";
import { putOnRecord, recordOf, refusal, remove, specFor, start, statuses } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";

const daemon = await Daemon.start({ kind: "holdfastd", config: [] });
const client = await daemon.client();
after(async () => {
  client.close();
  await daemon.close();
});

const SLEEP = ["sleep", "1000"];
const ids = (containers: readonly Container[]): string[] => containers.map(({ id }) => id).sort();

test("namespaces: they come with what is put into them, and go when they are empty", async () => {
  const { namespaces } = client;
  assert.deepEqual((await namespaces.get({ name: "unheard-of" })).namespace, {
    name: "unheard-of",
    labels: {},
  });
  await namespaces.create({ namespace: { name: "made", labels: { a: "1", b: "2" } } });
  assert.match(
    await refusal(namespaces.create({ namespace: { name: "made", labels: {} } })),
    /^ALREADY_EXISTS/,
  );
  const update = async (labels: Record<string, string>, updateMask?: string[]) =>
    (await namespaces.update({ namespace: { name: "made", labels }, updateMask })).namespace?.labels;
  assert.deepEqual(await update({ a: "3", c: "4" }, ["labels.a"]), { a: "3", b: "2" });
  assert.deepEqual(await update({ b: "" }, ["labels.b"]), { a: "3" });
  assert.deepEqual(await update({ z: "26" }), { z: "26" });
  assert.match(await refusal(update({}, ["name"])), /^INVALID_ARGUMENT/);
  const inside = client.inNamespace("made");
  await inside.containers.create({ container: recordOf("c", specFor(daemon, "c", { args: SLEEP })) });
  assert.match(
    await refusal(namespaces.delete({ name: "made" })),
    /^FAILED_PRECONDITION: .*still has containers/,
  );
  await inside.containers.delete({ id: "c" });
  await namespaces.delete({ name: "made" });
  assert.match(await refusal(namespaces.delete({ name: "made" })), /^NOT_FOUND/);
});

test("containers: field masks change what they name, and nothing else", async () => {
  await putOnRecord(daemon, client, "masked", SLEEP, { labels: { a: "1", b: "2" }, image: "first" });
  const before = (await client.containers.get({ id: "masked" })).container;
  assert.ok(before?.createdAt !== undefined);
  const update = async (changes: Partial<Container>, updateMask?: string[]) =>
    (await client.containers.update({ container: { ...before, ...changes }, updateMask })).container;
  const one = await update({ labels: { a: "9" }, image: "other" }, ["labels.a"]);
  assert.deepEqual([one?.labels, one?.image], [{ a: "9", b: "2" }, "first"]);
  const extension = { typeUrl: "x", value: new Uint8Array([1]) };
  const two = await update({ extensions: { e: extension }, image: "second" }, ["extensions.e", "image"]);
  assert.deepEqual(
    [two?.extensions, two?.image, two?.labels],
    [{ e: extension }, "second", { a: "9", b: "2" }],
  );
  const all = await update({ labels: {}, image: "third" });
  assert.deepEqual([all?.labels, all?.extensions, all?.image], [{}, {}, "third"]);
  assert.deepEqual(all?.createdAt, before.createdAt);
  assert.notDeepEqual(all?.updatedAt, before.updatedAt);
  assert.match(await refusal(update({}, ["created_at"])), /^INVALID_ARGUMENT: cannot update "created_at"/);
  assert.match(
    await refusal(update({ runtime: { name: "io.containerd.other.v2" } })),
    /^INVALID_ARGUMENT: .*immutable/,
  );
  assert.match(await refusal(update({ spec: undefined }, ["spec"])), /^INVALID_ARGUMENT: .*spec must be set/);
  assert.deepEqual((await client.containers.get({ id: "masked" })).container, all);
  await client.containers.delete({ id: "masked" });
});

test("containers: filters select, and a stream lists the same", async () => {
  for (const [id, labels] of [
    ["f-one", { role: "web" }],
    ["f-two", { role: "db", "io.x/y": "1" }],
    ["f-three", {}],
  ] as const) {
    await putOnRecord(daemon, client, id, SLEEP, { labels });
  }
  const list = async (...filters: string[]) => ids((await client.containers.list({ filters })).containers);
  assert.deepEqual(await list(), ["f-one", "f-three", "f-two"]);
  assert.deepEqual(await list("labels.role==web"), ["f-one"]);
  assert.deepEqual(await list("labels.role"), ["f-one", "f-two"]);
  assert.deepEqual(await list("id~=^f-t,labels.role"), ["f-two"]);
  assert.deepEqual(await list('labels."io.x/y"==1', "id==f-three"), ["f-three", "f-two"]);
  const streamed: Container[] = [];
  for await (const { container } of client.containers.listStream({ filters: ["id~=two"] }))
    if (container) streamed.push(container);
  assert.deepEqual(ids(streamed), ["f-two"]);
  for (const id of await list()) await client.containers.delete({ id });
});

test("leases are kept for their clients, over a restart too", async () => {
  const leases = client.service(LeasesDefinition);
  const { lease } = await leases.create({ id: "mine", labels: { k: "v" } });
  assert.equal(lease?.id, "mine");
  const { lease: named } = await leases.create({ id: "", labels: {} });
  assert.ok((named?.id ?? "").length >= 16);
  assert.match(await refusal(leases.create({ id: "mine", labels: {} })), /^ALREADY_EXISTS: lease "mine"/);
  const resource = { id: `sha256:${"0".repeat(64)}`, type: "content" };
  await leases.addResource({ id: "mine", resource });
  await leases.addResource({ id: "mine", resource });
  await daemon.crashAndRestart();
  const again = (await daemon.client()).service(LeasesDefinition);
  assert.deepEqual((await again.listResources({ id: "mine" })).resources, [resource]);
  assert.deepEqual((await again.list({ filters: ["labels.k==v"] })).leases, [lease]);
  await again.deleteResource({ id: "mine", resource });
  assert.deepEqual((await again.listResources({ id: "mine" })).resources, []);
  for (const { id } of (await again.list({ filters: [] })).leases) await again.delete({ id, sync: true });
  assert.match(await refusal(again.delete({ id: "mine", sync: false })), /^NOT_FOUND/);
});

test("health says that it serves, and introspection what", async () => {
  const health = client.service(HealthDefinition);
  assert.equal((await health.check({ service: "" })).status, Health.SERVING);
  assert.equal(
    (await health.check({ service: "containerd.services.tasks.v1.Tasks" })).status,
    Health.SERVING,
  );
  assert.match(await refusal(health.check({ service: "nonesuch" })), /^NOT_FOUND/);
  const introspection = client.service(IntrospectionDefinition);
  const { plugins } = await introspection.plugins({ filters: ["id~=task"] });
  assert.deepEqual(
    plugins.map(({ type, id }) => `${type}/${id}`),
    ["io.containerd.runtime.v2/task", "io.containerd.grpc.v1/tasks"],
  );
  // What ctr 1.7 asks before it makes a container of an image.
  const found = await introspection.plugins({
    filters: ["type==io.containerd.snapshotter.v1, id==overlayfs"],
  });
  assert.deepEqual(
    found.plugins.map(({ id, capabilities, initErr }) => ({ id, capabilities, initErr })),
    [{ id: "overlayfs", capabilities: [], initErr: undefined }],
  );
  const { uuid } = await introspection.server({});
  assert.match(uuid, /^[0-9a-f-]{36}$/);
});

test("ctr lists no images, content and snapshots of a new daemon, and what is no archive is not imported", async () => {
  assert.equal((await daemon.ctr.do(["images", "ls", "--quiet"])).trim(), "");
  assert.equal((await daemon.ctr.do(["content", "ls", "--quiet"])).trim(), "");
  assert.equal((await daemon.ctr.do(["snapshots", "ls"])).trim().split("\n").length, 1);
  const image = await daemon.ctr.try(["run", "--rm", "test.invalid/none:1", "none", "true"]);
  assert.notEqual(image.status, 0);
  assert.match(image.stderr, /not found/);
  const info = await daemon.ctr.try(["images", "import", "/dev/null"]);
  assert.notEqual(info.status, 0);
});

test("events: a filter chooses, in the order in which they happen", async () => {
  const seen: Envelope[] = [];
  const events = client.events.subscribe({
    filters: [
      `namespace==${daemon.namespace},topic~=/^\\/tasks/`,
      'topic=="/containers/create",event.id==told',
    ],
  });
  const reading = (async () => {
    for await (const envelope of events) {
      seen.push(envelope);
      if (envelope.topic === "/tasks/delete") return;
    }
  })();
  await client.version.version({});
  await start(daemon, client, "told", ["sh", "-c", "exit 3"]);
  await client.tasks.wait({ containerId: "told", execId: "" });
  await client.tasks.delete({ containerId: "told" });
  await reading;
  await client.containers.delete({ id: "told" });
  assert.deepEqual(
    seen.map(({ topic }) => topic),
    ["/containers/create", "/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"],
  );
});

test("who subscribes again after a restart hears what happened meanwhile", async () => {
  const first = await daemon.client();
  await start(daemon, first, "meanwhile", [
    "sh",
    "-c",
    "while [ ! -e /tmp/meanwhile ]; do sleep 0.01; done; exit 9",
  ]);
  first.close();
  await daemon.kill();
  await daemon.touch("meanwhile");
  await daemon.launch();
  const second = await daemon.client();
  await eventually(
    "the exit to be known",
    async () => (await second.history.get({ containerId: "meanwhile" })).exit,
  );
  const late = second.events.subscribe({ filters: ['topic=="/tasks/exit",event.container_id==meanwhile'] });
  assert.equal((await late.next()).value?.topic, "/tasks/exit");
  await late.return?.();
  await remove(second, "meanwhile");
  second.close();
});

test("the history tells each call with how long it took, each event, an OOM kill, and what was used", async () => {
  const fresh = await daemon.client();
  daemon.ctr.ids.add("greedy");
  const spec = specFor(daemon, "greedy", {
    args: ["sh", "-c", "x=a; while true; do x=$x$x; done"],
    // More than runc needs itself until it has become the program.
    memoryLimitBytes: 32 * 1024 * 1024,
  });
  await fresh.containers.create({ container: recordOf("greedy", spec) });
  await fresh.tasks.create({
    containerId: "greedy",
    rootfs: [],
    stdin: "",
    stdout: "",
    stderr: "",
    terminal: false,
    runtimePath: "",
  });
  await fresh.tasks.start({ containerId: "greedy", execId: "" });
  assert.equal((await fresh.tasks.wait({ containerId: "greedy", execId: "" })).exitStatus, 137);
  const { exit, steps } = await eventually("the usage", async () => {
    const history = await fresh.history.get({ containerId: "greedy" });
    return history.exit?.usage === undefined ? undefined : history;
  });
  assert.deepEqual([exit?.status, exit?.oom], [137, true]);
  assert.ok((exit?.usage?.memoryPeakBytes ?? 0n) >= 7n * 1024n * 1024n);
  for (const name of ["tasks.Create", "tasks.Start"]) {
    assert.ok((steps.find(({ what }) => what === name)?.tookNs ?? 0n) > 0n, name);
  }
  assert.ok(steps.some(({ what, detail }) => what === "/tasks/exit" && detail === "exit status 137"));
  await remove(fresh, "greedy");
  fresh.close();
});

test("metrics are served on request", async () => {
  const path = join(daemon.directory, "metrics.sock");
  const measured = await Daemon.start({ kind: "holdfastd", config: [`metrics_address = "${path}"`] });
  try {
    const its = await measured.client();
    await start(measured, its, "measured", SLEEP);
    assert.deepEqual(await statuses(its), { measured: "RUNNING" });
    const ask = (): Promise<string> =>
      new Promise((done, fail) => {
        const asked = request({ socketPath: path, path: "/metrics" }, (response) => {
          let body = "";
          response.on("data", (chunk) => (body += chunk)).on("end", () => done(body));
        });
        asked.on("error", fail).end();
      });
    // The event comes from the shim, and may be later than its answer.
    const text = await eventually("the start to be counted", async () => {
      const text = await ask();
      return /holdfast_events_total\{topic="\/tasks\/start"\} 1/.test(text) && text;
    });
    assert.match(text, new RegExp(`holdfast_tasks\\{namespace="${measured.namespace}"\\} 1`));
    assert.match(text, /holdfast_shim_starts_total\{result="ok"\} 1/);
    assert.match(
      text,
      /holdfast_call_seconds_count\{service="containerd\.services\.tasks\.v1\.Tasks",method="Create",code="OK"\} 1/,
    );
    await remove(its, "measured");
    its.close();
  } finally {
    await measured.close();
  }
});

test("a deadline of weeks, months or years is not over at once", async () => {
  await start(daemon, client, "patient", ["sleep", "1000"]);
  const { name, requestType, responseType } = TasksDefinition.methods.wait;
  const grpc = new Client(`unix://${daemon.address}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("containerd-namespace", daemon.namespace);
  const answers = [24, 25, 49, 50, 365, 10_000].map(
    (days) =>
      new Promise<unknown>((resolve) => {
        grpc.makeUnaryRequest(
          `/${TasksDefinition.fullName}/${name}`,
          (request: WaitRequest) => Buffer.from(requestType.encode(request).finish()),
          (bytes: Buffer) => responseType.decode(bytes),
          { containerId: "patient", execId: "" },
          metadata,
          { deadline: Date.now() + days * 24 * 3600 * 1000 },
          (error, answer) => resolve(error?.details ?? answer?.exitStatus),
        );
      }),
  );
  // Longer than what is over at once would take.
  for (let round = 0; round < 20; round++) await statuses(client);
  await remove(client, "patient");
  assert.deepEqual(
    await Promise.all(answers),
    answers.map(() => 137),
  );
  grpc.close();
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
