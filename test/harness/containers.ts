// Containers made by calls of the API, for what ctr has no flags for. Used by the tests of holdfastd and by the bench.
import type { Container } from "../../src/api/generated/containers.ts";
import { Status } from "../../src/api/generated/process.ts";
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { callCode, errorText } from "../../src/cli/text/problem.ts";
import { codeName } from "../../src/ttrpc/status.ts";
import type { Daemon } from "./daemon.ts";
import { ociSpec, type SpecOptions } from "./rootfs.ts";
import { runtimeName } from "./runtime.ts";

const SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
export const NO_STDIO = { stdin: "", stdout: "", stderr: "", terminal: false };

/** A record as a client sends it. */
export function recordOf(id: string, spec: unknown, changes: Partial<Container> = {}): Container {
  const value = Buffer.from(typeof spec === "string" ? spec : JSON.stringify(spec));
  return {
    id,
    labels: {},
    image: "",
    runtime: { name: runtimeName },
    spec: { typeUrl: SPEC, value },
    snapshotter: "",
    snapshotKey: "",
    extensions: {},
    ...changes,
  };
}

export function specFor(
  daemon: Daemon,
  id: string,
  options: Partial<SpecOptions> & { args: readonly string[] },
): unknown {
  return ociSpec({ rootfs: daemon.rootfs, cgroupsPath: `/${daemon.namespace}/${id}`, ...options });
}

/** Puts a container on record. */
export async function putOnRecord(
  daemon: Daemon,
  client: DaemonClient,
  id: string,
  args: readonly string[],
  changes: Partial<Container> = {},
): Promise<void> {
  daemon.ctr.ids.add(id);
  await client.containers.create({ container: recordOf(id, specFor(daemon, id, { args }), changes) });
}

export async function createTask(client: DaemonClient, containerId: string): Promise<number> {
  return (await client.tasks.create({ containerId, rootfs: [], ...NO_STDIO, runtimePath: "" })).pid;
}

/** Puts it on record, creates and starts it. Resolves to its pid. */
export async function start(
  daemon: Daemon,
  client: DaemonClient,
  id: string,
  args: readonly string[],
): Promise<number> {
  await putOnRecord(daemon, client, id, args);
  await createTask(client, id);
  return (await client.tasks.start({ containerId: id, execId: "" })).pid;
}

/** Kills what runs, and removes all of it. */
export async function remove(client: DaemonClient, id: string): Promise<void> {
  await client.tasks.kill({ containerId: id, execId: "", signal: 9, all: true }).catch(() => {});
  await client.tasks.wait({ containerId: id, execId: "" });
  await client.tasks.delete({ containerId: id });
  await client.containers.delete({ id });
}

/** "RUNNING", by id. */
export async function statuses(client: DaemonClient): Promise<Record<string, string>> {
  const { tasks } = await client.tasks.list({ filter: "" });
  const names = Object.keys(Status);
  return Object.fromEntries(
    tasks.map(({ containerId, status }) => [containerId, names[status] ?? String(status)]),
  );
}

/** What a call that must fail says: "NOT_FOUND: task x not found". */
export async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call;
  } catch (error) {
    const code = callCode(error);
    if (code === undefined) throw error;
    return `${codeName(code)}: ${errorText(error)}`;
  }
  throw new Error("the call was answered");
}
