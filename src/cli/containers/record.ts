// Containers as the daemon has them on record: made, read and removed for the verbs.
import type { Container } from "../../api/generated/containers.ts";
import { LOG_LABEL } from "../../api/labels.ts";
import { Code } from "../../ttrpc/status.ts";
import { parseExact, stringifyExact } from "../text/exact-json.ts";
import { callCode } from "../text/problem.ts";
import type { DaemonClient } from "./daemon-client.ts";
import type { Spec } from "./spec-flags.ts";

const SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

/** On a container of an image: the digest of the manifest that it was made of, which by its name it keeps. */
export const IMAGE_LABEL = "containerd.io/gc.ref.content.image";

/** The path of the file that has the container's output; undefined if there is none, or only fifos. */
export function logOf({ labels }: Container): string | undefined {
  // holdfast 0.1 called it otherwise.
  return labels[LOG_LABEL] ?? labels["holdfast.log"];
}

export interface NewContainer {
  readonly id: string;
  readonly runtime: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly spec: Spec;
  /** Its image, whose snapshot of the container's own id it runs on; undefined for another root file system. */
  readonly image:
    | { readonly name: string; readonly snapshotter: string; readonly digest: string }
    | undefined;
}

export async function createContainer(daemon: DaemonClient, container: NewContainer): Promise<void> {
  const { id, labels, spec, runtime, image } = container;
  await daemon.containers.create({
    container: {
      id,
      labels: { ...labels, ...(image !== undefined && { [IMAGE_LABEL]: image.digest }) },
      image: image?.name ?? "",
      runtime: { name: runtime },
      spec: { typeUrl: SPEC_TYPE, value: new TextEncoder().encode(stringifyExact(spec)) },
      snapshotter: image?.snapshotter ?? "",
      snapshotKey: image === undefined ? "" : id,
      extensions: {},
    },
  });
}

/** Rejects with NOT_FOUND. */
export async function getContainer(daemon: DaemonClient, id: string): Promise<Container> {
  const { container } = await daemon.containers.get({ id });
  if (container === undefined) throw new Error(`the daemon answers for container ${id} with nothing`);
  return container;
}

/** The OCI spec of a container; empty if there is none that can be read. */
export function specOf(container: Container): Spec {
  return readSpec(container, parseExact);
}

/** What processOf() takes of it, where no number counts: read in half the time. */
export function processIn(container: Container): ReturnType<typeof processOf> {
  return processOf(readSpec(container, JSON.parse));
}

function readSpec(container: Container, parse: (text: string) => unknown): Spec {
  try {
    const spec = parse(new TextDecoder().decode(container.spec?.value));
    return typeof spec === "object" && spec !== null ? (spec as Spec) : {};
  } catch {
    return {};
  }
}

export function processOf(spec: Spec): { args: readonly string[]; terminal: boolean } {
  const { args, terminal } = (spec.process ?? {}) as { args?: unknown; terminal?: unknown };
  return { args: Array.isArray(args) ? args.map(String) : [], terminal: terminal === true };
}

/** Whether a call rejects because there is no such thing. */
export function isNotFound(error: unknown): boolean {
  return callCode(error) === Code.NOT_FOUND;
}

/** Resolves to undefined where there is no such thing. */
export async function orNone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** "NAME=VALUE" flags as a record. */
export function labelsOf(flags: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    flags.map((flag) => {
      const [name = "", ...value] = flag.split("=");
      return [name, value.join("=")];
    }),
  );
}
