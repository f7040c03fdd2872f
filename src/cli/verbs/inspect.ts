// `holdfast inspect`: all that is known of containers, from their record, their task, its end and their shim.
import type { Command } from "commander";
import type { Container } from "../../api/generated/containers.ts";
import { POLICY_ANNOTATION } from "../../api/output-policy.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { getContainer, IMAGE_LABEL, logOf, orNone, specOf } from "../containers/record.ts";
import { describeRow, rowOf } from "../containers/rows.ts";
import { describeImage } from "../images/describe.ts";
import { ImageStore } from "../images/store.ts";
import { ShimConnection } from "../shims/connection.ts";
import { memoryOf } from "../shims/proc.ts";
import { findShims, type ShimProcess } from "../shims/processes.ts";
import { nsToIso } from "../text/units.ts";
import { daemonVerb, forEach, type Visit } from "./daemon-verb.ts";
import { examples } from "./options.ts";

/** How long a shim has to tell of its output, in ms. */
const ANSWER_TIMEOUT = 2_000;

export function addInspect(program: Command): void {
  examples(
    daemonVerb(
      program,
      "inspect <id...>",
      "show all that is known of containers or images, as JSON",
      inspectVerb,
    ),
    ["holdfast inspect web | jq '.[0].exit'", "how did it end?"],
    ["holdfast inspect web | jq '.[0].spec.mounts'", "what does it see?"],
    ["holdfast inspect redis:7 | jq '.[0].config'", "what does an image say?"],
  );
}

async function inspectVerb(visit: Visit): Promise<void> {
  const { daemon, settings } = visit;
  const shims = findShims();
  const found: unknown[] = [];
  await forEach(visit, async (id) => {
    found.push((await inspectImage(daemon, id)) ?? (await inspectOne(daemon, id, shims)));
  });
  settings.screen.document(found);
}

/** What its shim tells of its output; undefined unless its policy is to drop or to spill, and the shim answers. */
async function outputOf(container: Container, shim: ShimProcess): Promise<unknown> {
  const { id, spec } = container;
  const annotations = spec && (specOf(container).annotations as Record<string, unknown> | undefined);
  const policy = annotations?.[POLICY_ANNOTATION];
  const [socket] = shim.sockets;
  if (typeof policy !== "string" || policy === "block" || socket === undefined) return undefined;
  try {
    const connection = await ShimConnection.open(socket, id, ANSWER_TIMEOUT);
    try {
      const { containers } = await connection.inside();
      const output = containers.find((each) => each.id === id)?.output;
      return output && { policy, droppedBytes: output.dropped, waitingBytes: output.waiting };
    } finally {
      connection.close();
    }
  } catch {
    // Another shim than ours, or one that hangs: all else is known without it.
    return undefined;
  }
}

/** The image of that name, if there is no such container. */
async function inspectImage(daemon: DaemonClient, word: string): Promise<unknown> {
  if ((await orNone(daemon.containers.get({ id: word }))) !== undefined) return undefined;
  const image = await new ImageStore(daemon).lookUp(word);
  return image === undefined ? undefined : describeImage(daemon, image);
}

/** What its container was made of; null for a container of no image, or of another client. */
async function madeOf(daemon: DaemonClient, { image: name, labels }: Container): Promise<unknown> {
  const digest = labels[IMAGE_LABEL];
  if (digest === undefined) return null;
  const { manifest, config } = await new ImageStore(daemon).resolveDigest(name, digest);
  const { os, architecture, created } = config;
  return { name, digest, config: manifest.config.digest, os, architecture, created };
}

async function inspectOne(daemon: DaemonClient, id: string, shims: readonly ShimProcess[]): Promise<unknown> {
  const container = await getContainer(daemon, id);
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  const shim = shims.find((each) => each.namespace === daemon.namespace && each.containers.includes(id));
  const memory = shim && memoryOf(shim.pid);
  const output = shim && (await outputOf(container, shim));
  const { updatedAt, snapshotter, snapshotKey, spec } = container;
  return {
    ...describeRow(await rowOf(daemon, container, task, true)),
    updatedAt: updatedAt === undefined ? null : nsToIso(nsFromTimestamp(updatedAt)),
    log: logOf(container) ?? null,
    stdio:
      task === undefined
        ? null
        : {
            terminal: task.terminal,
            stdin: task.stdin,
            stdout: task.stdout,
            stderr: task.stderr,
          },
    shim:
      shim === undefined
        ? null
        : {
            pid: shim.pid,
            kind: shim.kind,
            executable: shim.executable,
            bundle: shim.bundle,
            sockets: shim.sockets,
            rssBytes: memory?.rssBytes ?? null,
            privateBytes: memory?.privateBytes ?? null,
          },
    output: output ?? null,
    imageDetails: await madeOf(daemon, container).catch(() => null),
    snapshotter,
    snapshotKey,
    spec: spec === undefined ? null : specOf(container),
  };
}
