// The same calls to containerd and to holdfastd: codes and answers are the same. What containerd 1.6 does otherwise, and newer ones or its API do not, is
// not asked (updates of namespaces without a mask; sizes in filters; offsets of what is read), nor what it takes though it makes no sense.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { ContentDefinition, WriteAction, type WriteContentRequest } from "../../src/api/generated/content.ts";
import { DiffDefinition } from "../../src/api/generated/diff.ts";
import { EventsDefinition } from "../../src/api/generated/events.ts";
import { ImagesDefinition } from "../../src/api/generated/images.ts";
import { IntrospectionDefinition } from "../../src/api/generated/introspection.ts";
import { LeasesDefinition } from "../../src/api/generated/leases.ts";
import { NamespacesDefinition } from "../../src/api/generated/namespaces.ts";
import { SnapshotsDefinition } from "../../src/api/generated/snapshots.ts";
import { NOTHING_TO_WRITE } from "../../src/cli/containers/daemon-client.ts";
import type { ServiceDefinition } from "../../src/ttrpc/definition.ts";
import { Daemon } from "../harness/daemon.ts";
import { containerdVersion } from "../harness/runtime.ts";
import { ImagesClient } from "./client.ts";
import { gzip } from "./tar.ts";

const SERVICES = {
  content: ContentDefinition,
  diff: DiffDefinition,
  events: EventsDefinition,
  images: ImagesDefinition,
  introspection: IntrospectionDefinition,
  leases: LeasesDefinition,
  namespaces: NamespacesDefinition,
  snapshots: SnapshotsDefinition,
} as const;

/** A request without its message ends containerd 1.7: it takes what is not there for one. */
const skip = containerdVersion >= 1.7 ? "what is asked is for containerd 1.6; 1.7 dies of some of it" : false;

const kinds = ["containerd", "holdfastd"] as const;
const daemons: Daemon[] = [];
const clients: ImagesClient[] = [];

before(async () => {
  for (const kind of kinds) {
    const daemon = await Daemon.start({ kind });
    daemons.push(daemon);
    clients.push(await ImagesClient.connect(daemon.address, "side"));
  }
});
after(async () => {
  for (const client of clients) client.close();
  for (const daemon of daemons) await daemon.close();
});

const D1 = `sha256:${"1".repeat(64)}`;
const layer = gzip([{ name: "file", data: "text" }]);

/** Of a test: one is not to hide the next. */
const differences: string[] = [];
afterEach(() => assert.deepEqual(differences.splice(0), []));

interface Step {
  /** "service.method". */
  readonly call: string;
  readonly request: Record<string, unknown>;
  readonly lease?: string;
  readonly namespace?: string;
}

const step = (call: string, request: Record<string, unknown> = {}, more: Partial<Step> = {}): Step => ({
  call,
  request,
  ...more,
});

type Message = Partial<WriteContentRequest>;

/** What a call was answered with, in a form in which two daemons can be compared. */
async function answer(client: ImagesClient, { call, request, lease, namespace }: Step): Promise<unknown> {
  const [name = "", method = ""] = call.split(".");
  const definition = SERVICES[name as keyof typeof SERVICES] as ServiceDefinition;
  let daemon = namespace === undefined ? client.daemon : client.daemon.inNamespace(namespace);
  // Either daemon may collect what is on none.
  const used = lease ?? (name === "snapshots" ? "hold" : undefined);
  if (used !== undefined) daemon = daemon.underLease(used);
  const full = definition.methods[method];
  if (full === undefined) throw new Error(`no ${call}`);
  const base = full.requestType.decode(new Uint8Array(0)) as object;
  const methods = daemon.service(definition) as unknown as Record<string, (request: unknown) => unknown>;
  try {
    const value = methods[method]?.({ ...base, ...request });
    if (!full.responseStream) return clean(await value);
    const found: unknown[] = [];
    for await (const each of value as AsyncIterable<unknown>) found.push(clean(each));
    return found;
  } catch (error) {
    return failure(error);
  }
}

/** The code: texts differ where ours say more. */
function failure(error: unknown): string {
  const { code } = error as { code?: number };
  return code === undefined ? String(error) : `code ${code}`;
}

function cleanText(text: string): string {
  return text
    .replace(/\/tmp\/holdfast-\w+\/root\/[\w./]*snapshots\/\d+/g, "SNAPSHOT")
    .replace(/\/tmp\/holdfast-\w+\/root/g, "ROOT");
}

function clean(value: unknown): unknown {
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map(clean);
  if (typeof value === "string") return cleanText(value);
  if (typeof value !== "object" || value === null) return value;
  const record = value as Record<string, unknown>;
  if ("seconds" in record && "nanos" in record) return "a time";
  return Object.fromEntries(
    Object.entries(record)
      .filter(([key]) => key !== "expected" && key !== "requires" && key !== "root")
      .map(([key, each]) => [key, key === "statuses" ? byRef(each) : clean(each)]),
  );
}

/** They come in no order. */
function byRef(statuses: unknown): unknown {
  const all = statuses as { ref: string }[];
  return clean([...all].sort((a, b) => (a.ref < b.ref ? -1 : 1)));
}

/** A Write stream: what each message was answered with. It is over when this resolves: nobody holds the ingest any more. */
async function write(client: ImagesClient, messages: readonly Message[], lease?: string): Promise<unknown[]> {
  const daemon = lease === undefined ? client.daemon : client.daemon.underLease(lease);
  const stream = daemon.bidi(ContentDefinition, ContentDefinition.methods.write);
  const found: unknown[] = [];
  try {
    for (const message of messages) {
      stream.write({ ...NOTHING_TO_WRITE, ...message });
      found.push(clean(await stream.next()));
    }
    stream.close();
    // containerd 1.6 answers the end of the requests too.
    while ((await stream.next()) !== undefined);
  } catch (error) {
    found.push(failure(error));
  }
  return found;
}

async function both(what: string, act: (client: ImagesClient) => Promise<unknown>): Promise<void> {
  const [theirs, ours] = await Promise.all(clients.map(act));
  try {
    assert.deepEqual(ours, theirs);
  } catch (error) {
    differences.push(`${what}: ${(error as Error).message}`);
  }
}

async function all(steps: readonly Step[]): Promise<void> {
  for (const each of steps)
    await both(
      `${each.call} ${JSON.stringify(each.request, (_, v) => (typeof v === "bigint" ? String(v) : v))}`,
      (client) => answer(client, each),
    );
}

const image = (name: string, more: object = {}): object => ({
  name,
  labels: {},
  target: { mediaType: "application/x", digest: D1, size: 5n, annotations: { a: "b" } },
  createdAt: undefined,
  updatedAt: undefined,
  ...more,
});

test("namespaces", { skip }, async () => {
  await all([
    step("namespaces.get", { name: "none" }),
    step("namespaces.get", { name: "" }),
    step("namespaces.create", { namespace: { name: "a", labels: { k: "v", e: "" } } }),
    step("namespaces.create", { namespace: { name: "a", labels: {} } }),
    step("namespaces.create", { namespace: { name: "", labels: {} } }),
    step("namespaces.create", { namespace: { name: "a/b", labels: {} } }),
    step("namespaces.create", { namespace: { name: "a".repeat(80), labels: {} } }),
    step("namespaces.create", { namespace: { name: "big", labels: { k: "v".repeat(5000) } } }),
    step("namespaces.get", { name: "a" }),
    step("namespaces.delete", { name: "none" }),
    step("namespaces.delete", { name: "" }),
    step("namespaces.delete", { name: "a" }),
    step("namespaces.delete", { name: "absent" }),
    step("images.list", {}, { namespace: "" }),
    step("images.list", {}, { namespace: "bad/name" }),
    step("images.create", { image: image("x") }, { namespace: "bad/name" }),
    step("images.create", { image: image("x") }, { namespace: "" }),
  ]);
});

test("images", { skip }, async () => {
  await all([
    step("images.get", { name: "none" }),
    step("images.get", { name: "" }),
    step("images.create", { image: undefined }),
    step("images.create", { image: image("") }),
    step("images.create", { image: image(" ") }),
    step("images.create", { image: image("x", { target: undefined }) }),
    step("images.create", {
      image: image("x", { target: { mediaType: "", digest: D1, size: 5n, annotations: {} } }),
    }),
    step("images.create", {
      image: image("x", { target: { mediaType: "m", digest: "", size: 5n, annotations: {} } }),
    }),
    step("images.create", {
      image: image("x", { target: { mediaType: "m", digest: "bad", size: 5n, annotations: {} } }),
    }),
    step("images.create", {
      image: image("x", { target: { mediaType: "m", digest: "sha256:12", size: 5n, annotations: {} } }),
    }),
    step("images.create", {
      image: image("x", { target: { mediaType: "m", digest: "md5:12", size: 5n, annotations: {} } }),
    }),
    step("images.create", {
      image: image("x", { target: { mediaType: "m", digest: D1, size: 0n, annotations: {} } }),
    }),
    step("images.create", {
      image: image("x", { target: { mediaType: "m", digest: D1, size: -5n, annotations: {} } }),
    }),
    step("images.create", { image: image("x", { labels: { k: "v".repeat(5000) } }) }),
    step("images.create", { image: image("x", { labels: { k: "v", empty: "" } }) }),
    step("images.get", { name: "x" }),
    step("images.create", { image: image("x") }),
    step("images.create", { image: image("odd name/with:every@thing é") }),
    step("images.list", {}),
    step("images.list", { filters: ["name==x"] }),
    step("images.list", { filters: ["name~=/^odd/"] }),
    step("images.list", { filters: ["labels.k==v"] }),
    step("images.list", { filters: ["labels.k"] }),
    step("images.list", { filters: ["labels"] }),
    step("images.list", { filters: [`target.digest==${D1}`] }),
    step("images.list", { filters: ["target.mediatype==application/x"] }),
    step("images.list", { filters: ["target.mediaType==application/x"] }),
    step("images.list", { filters: ["annotations.a==b"] }),
    step("images.list", { filters: ["target.size==5"] }),
    step("images.list", { filters: ["name"] }),
    step("images.list", { filters: ["nosuch"] }),
    step("images.list", { filters: ["nosuch==1", "name==x"] }),
    step("images.list", { filters: ["=="] }),
    step("images.list", { filters: ["name=x"] }),
    step("images.list", { filters: [""] }),
    step("images.list", { filters: ["", "name==x"] }),
    step("images.update", { image: undefined }),
    step("images.update", { image: image("") }),
    step("images.update", { image: image("none") }),
    step("images.update", { image: image("x", { labels: { n: "1" } }), updateMask: ["labels.n"] }),
    step("images.update", { image: image("x", { labels: {} }), updateMask: ["labels.n"] }),
    step("images.update", { image: image("x", { labels: { z: "1" } }), updateMask: ["labels"] }),
    step("images.update", { image: image("x"), updateMask: ["name"] }),
    step("images.update", { image: image("x"), updateMask: ["target.size"] }),
    step("images.update", {
      image: image("x", { target: { mediaType: "new", digest: D1, size: 7n, annotations: { c: "d" } } }),
      updateMask: ["target"],
    }),
    step("images.update", {
      image: image("x", { target: { mediaType: "zzz", digest: D1, size: 7n, annotations: { e: "f" } } }),
      updateMask: ["annotations"],
    }),
    step("images.update", {
      image: image("x", { target: { mediaType: "zzz", digest: D1, size: 7n, annotations: { g: "h" } } }),
      updateMask: ["annotations.g"],
    }),
    step("images.update", { image: image("x", { target: undefined }), updateMask: ["target"] }),
    step("images.update", { image: image("x", { labels: { all: "new" } }) }),
    step("images.get", { name: "x" }),
    step("images.delete", { name: "none" }),
    step("images.delete", { name: "" }),
    step("images.delete", { name: "odd name/with:every@thing é", sync: true }),
    step("images.delete", { name: "x" }),
    step("images.delete", { name: "x" }),
  ]);
});

test("content", { skip }, async () => {
  await all([
    step("leases.create", { id: "keep", labels: {} }),
    step("content.info", { digest: "" }),
    step("content.info", { digest: "bad" }),
    step("content.info", { digest: D1 }),
    step("content.delete", { digest: "" }),
    step("content.delete", { digest: "bad" }),
    step("content.delete", { digest: D1 }),
    step("content.read", { digest: "" }),
    step("content.read", { digest: "bad" }),
    step("content.read", { digest: D1 }),
    step("content.update", { info: undefined }),
    step("content.update", { info: { digest: "bad", size: 0n, labels: {} } }),
    step("content.update", { info: { digest: D1, size: 0n, labels: {} } }),
    step("content.status", { ref: "" }),
    step("content.status", { ref: "none" }),
    step("content.abort", { ref: "" }),
    step("content.abort", { ref: "none" }),
    step("content.list", {}),
    step("content.listStatuses", {}),
    step("content.list", { filters: ["bad=="] }),
    step("content.listStatuses", { filters: ["bad=="] }),
  ]);
  const data = Buffer.from("hello");
  const digest = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
  const { STAT, WRITE, COMMIT } = WriteAction;
  const writes: Record<string, Message[]> = {
    "no ref": [{ action: STAT }],
    "no ref, commit": [{ action: COMMIT, data }],
    "write then wrong offset": [
      { action: WRITE, ref: "b", data },
      { action: WRITE, ref: "b", offset: 3n, data },
    ],
    "offset at the start": [{ action: WRITE, ref: "f", offset: 10n, data }],
    "stat with total": [{ action: STAT, ref: "h", total: 10n, expected: digest }],
    "stat again, other total": [{ action: STAT, ref: "h", total: 11n }],
    "stat again, other expected": [{ action: STAT, ref: "h", expected: D1 }],
    "stat again": [{ action: STAT, ref: "h" }],
    "commit of the wrong size": [{ action: COMMIT, ref: "j", total: 9n, data }],
    "commit of the wrong digest": [{ action: COMMIT, ref: "k", expected: D1, data }],
    "expected changes": [
      { action: WRITE, ref: "m", expected: digest, data },
      { action: COMMIT, ref: "m", expected: D1, offset: 5n },
    ],
    "empty commit": [{ action: COMMIT, ref: "empty" }],
    "a commit": [{ action: COMMIT, ref: "o", data, labels: { k: "v", e: "" } }],
    again: [{ action: COMMIT, ref: "p", data }],
    "known before": [{ action: STAT, ref: "q", expected: digest }],
    "known before, write": [{ action: WRITE, ref: "q", expected: digest, data }],
    "in two, digest so far": [
      { action: WRITE, ref: "r", data: data.subarray(0, 2) },
      { action: STAT, ref: "r" },
      { action: WRITE, ref: "r", offset: 2n, data: Buffer.from("y") },
      { action: WRITE, ref: "r", offset: 0n, data: Buffer.from("anew") },
      { action: COMMIT, ref: "r", offset: 4n, data: Buffer.from("!") },
    ],
    "odd ref": [{ action: STAT, ref: "../../é\n" }],
  };
  for (const [what, messages] of Object.entries(writes))
    await both(`write: ${what}`, (client) => write(client, messages, "keep"));
  await all([
    step("content.listStatuses", {}),
    step("content.listStatuses", { filters: ["ref==h"] }),
    step("content.listStatuses", { filters: ["ref~=/^h/"] }),
    step("content.listStatuses", { filters: ["nosuch"] }),
    step("content.status", { ref: "h" }),
    step("content.abort", { ref: "h" }),
    step("content.status", { ref: "h" }),
    step("content.info", { digest }),
    step("content.read", { digest }),
    step("content.read", { digest, offset: 5n }),
    step("content.read", { digest, offset: 6n }),
    step("content.read", { digest, offset: -1n }),
    step("content.read", { digest, offset: 0n, size: -1n }),
    step("content.list", {}),
    step("content.list", { filters: [`digest==${digest}`] }),
    step("content.list", { filters: ["labels.k==v"] }),
    step("content.list", { filters: ["labels.e"] }),
    step("content.list", { filters: ["nosuch"] }),
    step("content.update", { info: { digest, size: 0n, labels: { a: "b" } }, updateMask: ["labels.a"] }),
    step("content.update", { info: { digest, size: 0n, labels: {} }, updateMask: ["labels.a"] }),
    step("content.update", { info: { digest, size: 99n, labels: { c: "d" } }, updateMask: ["labels"] }),
    step("content.update", { info: { digest, size: 0n, labels: {} }, updateMask: ["size"] }),
    step("content.update", {
      info: { digest, size: 0n, labels: { k: "v".repeat(5000) } },
      updateMask: ["labels.k"],
    }),
    step("content.update", { info: { digest, size: 99n, labels: { whole: "x" } } }),
    step("content.info", { digest }),
    step("content.delete", { digest }),
    step("content.delete", { digest }),
    step("content.info", { digest }),
  ]);
});

const SN = "overlayfs";
const at = (key: string, more: object = {}): Record<string, unknown> => ({
  snapshotter: SN,
  key,
  labels: {},
  ...more,
});

test("snapshots", { skip }, async () => {
  await all([
    step("leases.create", { id: "hold", labels: {} }),
    step("snapshots.prepare", { snapshotter: "", key: "a" }),
    step("snapshots.prepare", { snapshotter: "nosuch", key: "a" }),
    step("snapshots.stat", { snapshotter: "nosuch", key: "a" }),
    step("snapshots.list", { snapshotter: "nosuch" }),
    step("snapshots.list", { snapshotter: "" }),
    step("snapshots.usage", { snapshotter: "nosuch", key: "a" }),
    step("snapshots.cleanup", { snapshotter: "nosuch" }),
    step("snapshots.prepare", at("a", { parent: "none" })),
    step("snapshots.view", at("a", { parent: "none" })),
    step("snapshots.stat", at("a")),
    step("snapshots.mounts", at("a")),
    step("snapshots.usage", at("a")),
    step("snapshots.remove", at("a")),
    step("snapshots.remove", at("")),
    step("snapshots.commit", at("a", { name: "b" })),
    step("snapshots.prepare", at("a", { labels: { k: "v", e: "" } })),
    step("snapshots.prepare", at("a")),
    step("snapshots.view", at("a")),
    step("snapshots.prepare", at("child", { parent: "a" })),
    step("snapshots.prepare", at("big", { labels: { k: "v".repeat(5000) } })),
    step("snapshots.stat", at("a")),
    step("snapshots.commit", at("a", { name: "a" })),
    step("snapshots.commit", at("a", { name: "base", labels: { l: "m" } })),
    step("snapshots.commit", at("a", { name: "base" })),
    step("snapshots.stat", at("a")),
    step("snapshots.stat", at("base")),
    step("snapshots.mounts", at("base")),
    step("snapshots.commit", at("base", { name: "other" })),
    step("snapshots.prepare", at("c", { parent: "base" })),
    step("snapshots.commit", at("c", { name: "base" })),
    step("snapshots.view", at("v", { parent: "base" })),
    step("snapshots.view", at("v0")),
    step("snapshots.commit", at("v", { name: "fromview" })),
    step("snapshots.remove", at("base")),
    step("snapshots.list", { snapshotter: SN }),
    step("snapshots.list", { snapshotter: SN, filters: ["kind==committed"] }),
    step("snapshots.list", { snapshotter: SN, filters: ["kind==Committed"] }),
    step("snapshots.list", { snapshotter: SN, filters: ["kind==active", "kind==view"] }),
    step("snapshots.list", { snapshotter: SN, filters: ["parent==base"] }),
    step("snapshots.list", { snapshotter: SN, filters: ["parent"] }),
    step("snapshots.list", { snapshotter: SN, filters: ["name==c"] }),
    step("snapshots.list", { snapshotter: SN, filters: ["labels.l==m"] }),
    step("snapshots.list", { snapshotter: SN, filters: ["nosuch"] }),
    step("snapshots.update", { snapshotter: SN, info: undefined }),
    step("snapshots.update", { snapshotter: SN, info: { name: "none", parent: "", kind: 0, labels: {} } }),
    step("snapshots.update", {
      snapshotter: SN,
      info: { name: "base", parent: "", kind: 0, labels: { n: "1" } },
      updateMask: ["labels.n"],
    }),
    step("snapshots.update", {
      snapshotter: SN,
      info: { name: "base", parent: "", kind: 0, labels: {} },
      updateMask: ["labels.n"],
    }),
    step("snapshots.update", {
      snapshotter: SN,
      info: { name: "base", parent: "", kind: 0, labels: { z: "1" } },
      updateMask: ["labels"],
    }),
    step("snapshots.update", {
      snapshotter: SN,
      info: { name: "base", parent: "x", kind: 0, labels: {} },
      updateMask: ["parent"],
    }),
    step("snapshots.update", {
      snapshotter: SN,
      info: { name: "base", parent: "x", kind: 1, labels: { w: "1" } },
    }),
    step("snapshots.usage", at("v")),
    step("snapshots.remove", at("v")),
    step("snapshots.remove", at("v0")),
    step("snapshots.remove", at("c")),
    step("leases.create", { id: "snap", labels: {} }),
    step("snapshots.prepare", at("t", { labels: { "containerd.io/snapshot.ref": "base" } }), {
      lease: "snap",
    }),
    step("snapshots.prepare", at("t", { parent: "none", labels: { "containerd.io/snapshot.ref": "base" } }), {
      lease: "snap",
    }),
    step("snapshots.prepare", at("t", { labels: { "containerd.io/snapshot.ref": "fresh" } }), {
      lease: "snap",
    }),
    step("snapshots.view", at("t2", { labels: { "containerd.io/snapshot.ref": "base" } }), { lease: "snap" }),
    step("snapshots.stat", at("t")),
    step("snapshots.prepare", at("u"), { lease: "nolease" }),
    step("snapshots.remove", at("t")),
    step("snapshots.remove", at("base")),
  ]);
});

test("leases", { skip }, async () => {
  const res = (id: string, type: string): object => ({ id, type });
  await all([
    step("leases.create", { id: "one", labels: { k: "v", e: "" } }),
    step("leases.create", { id: "one", labels: {} }),
    step("leases.create", { id: "bad/id", labels: {} }),
    step("leases.list", {}),
    step("leases.list", { filters: ["id==one"] }),
    step("leases.list", { filters: ["labels.k==v"] }),
    step("leases.list", { filters: ["nosuch"] }),
    step("leases.list", { filters: ["bad=="] }),
    step("leases.listResources", { id: "none" }),
    step("leases.listResources", { id: "" }),
    step("leases.addResource", { id: "none", resource: res(D1, "content") }),
    step("leases.addResource", { id: "one", resource: undefined }),
    step("leases.addResource", { id: "one", resource: res("", "content") }),
    step("leases.addResource", { id: "one", resource: res(D1, "") }),
    step("leases.addResource", { id: "one", resource: res("bad", "content") }),
    step("leases.addResource", { id: "one", resource: res(D1, "content") }),
    step("leases.addResource", { id: "one", resource: res(D1, "content") }),
    step("leases.addResource", { id: "one", resource: res("key", "snapshots/overlayfs") }),
    step("leases.addResource", { id: "one", resource: res("key", "snapshots/nosuch") }),
    step("leases.addResource", { id: "one", resource: res("key", "snapshots") }),
    step("leases.addResource", { id: "one", resource: res("key", "snapshots/a/b") }),
    step("leases.addResource", { id: "one", resource: res("ref", "ingests") }),
    step("leases.addResource", { id: "one", resource: res("ref", "ingest") }),
    step("leases.addResource", { id: "one", resource: res("ref", "images") }),
    step("leases.addResource", { id: "one", resource: res(D1, "content/x") }),
    step("leases.listResources", { id: "one" }),
    step("leases.deleteResource", { id: "none", resource: res(D1, "content") }),
    step("leases.deleteResource", { id: "one", resource: res("key2", "snapshots/overlayfs") }),
    step("leases.deleteResource", { id: "one", resource: res("key", "nosuch") }),
    step("leases.deleteResource", { id: "one", resource: res("key", "snapshots/overlayfs") }),
    step("leases.deleteResource", { id: "one", resource: res(D1, "content") }),
    step("leases.deleteResource", { id: "one", resource: res("ref", "ingests") }),
    step("leases.listResources", { id: "one" }),
    step("leases.delete", { id: "none" }),
    step("leases.delete", { id: "" }),
    step("leases.delete", { id: "one", sync: true }),
    step("images.create", { image: image("leased") }, { lease: "nolease" }),
    step("images.delete", { name: "leased" }),
  ]);
  await both("write under no lease", (client) =>
    write(client, [{ action: WriteAction.STAT, ref: "lost" }], "nolease"),
  );
  await both("commit under no lease", (client) =>
    write(client, [{ action: WriteAction.COMMIT, ref: "lost", data: Buffer.from("lost") }], "nolease"),
  );
  await all([step("leases.create", { id: "ing", labels: {} })]);
  await both("write under a lease", (client) =>
    write(client, [{ action: WriteAction.WRITE, ref: "begun", data: Buffer.from("begun") }], "ing"),
  );
  await all([step("leases.listResources", { id: "ing" })]);
  await both("the same to its end", (client) =>
    write(client, [{ action: WriteAction.COMMIT, ref: "begun", offset: 5n }], "ing"),
  );
  await all([
    step("leases.listResources", { id: "ing" }),
    step("content.listStatuses", {}),
    step("leases.delete", { id: "ing", sync: true }),
    step("content.listStatuses", {}),
    step("content.list", {}),
  ]);
});

test("diff", { skip }, async () => {
  await all([step("leases.create", { id: "diffs", labels: {} })]);
  let digest = "";
  for (const client of clients) digest = await client.put("layer", layer, { lease: "diffs" });
  const mounts = new Map<ImagesClient, unknown>();
  for (const client of clients) {
    const { mounts: made } = await client.daemon
      .underLease("diffs")
      .snapshots.prepare({ snapshotter: SN, key: "d", parent: "", labels: {} });
    mounts.set(client, made);
  }
  const desc = (mediaType: string, of = digest): object => ({
    mediaType,
    digest: of,
    size: BigInt(layer.length),
    annotations: {},
  });
  const apply = (diff: unknown) => async (client: ImagesClient) =>
    answer(client, step("diff.apply", { diff, mounts: mounts.get(client), payloads: {} }));
  await both("apply absent", apply(desc("application/vnd.oci.image.layer.v1.tar+gzip", D1)));
  await both("apply gzip", apply(desc("application/vnd.oci.image.layer.v1.tar+gzip")));
  await both("apply docker gzip", apply(desc("application/vnd.docker.image.rootfs.diff.tar.gzip")));
  await both("apply foreign", apply(desc("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")));
  await both(
    "apply nondistributable",
    apply(desc("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")),
  );
  await both("apply unknown type", apply(desc("application/unknown")));
  await both("apply encrypted", apply(desc("application/vnd.oci.image.layer.v1.tar+encrypted")));
  await both("apply without type", apply(desc("")));
  const diff = (more: object) => async (client: ImagesClient) =>
    answer(
      client,
      step(
        "diff.diff",
        { left: [], right: mounts.get(client), mediaType: "", ref: "", labels: {}, ...more },
        { lease: "diffs" },
      ),
    );
  await both("diff of unknown type", diff({ mediaType: "nonsense" }));
  await both(
    "diff of docker's type",
    diff({ mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" }),
  );
  await both("diff of large labels", diff({ labels: { k: "v".repeat(5000) } }));
});

test("introspection and events", { skip }, async () => {
  await all([
    step("introspection.plugins", { filters: ["bad=="] }),
    step("introspection.plugins", { filters: ["type==io.containerd.snapshotter.v1,id==overlayfs"] }),
    step("introspection.plugins", { filters: ["id==content"] }),
    step("introspection.plugins", { filters: ["id==nosuch"] }),
    step("events.publish", { topic: "", event: undefined }),
    step("events.publish", { topic: "a", event: { typeUrl: "x", value: new Uint8Array(0) } }),
    step("events.publish", { topic: "/a", event: { typeUrl: "x", value: new Uint8Array(0) } }),
    step(
      "events.publish",
      { topic: "/a/b", event: { typeUrl: "x", value: new Uint8Array(0) } },
      { namespace: "" },
    ),
    step("events.publish", { topic: "/a/", event: { typeUrl: "x", value: new Uint8Array(0) } }),
    step("events.publish", { topic: "/a b", event: undefined }),
  ]);
});
