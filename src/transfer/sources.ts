// Where a blob has come from or gone to, on record as containerd keeps it: a push to another repository of that registry need not send it again.
import type { Reference } from "../registry/reference.ts";
import { type ImageServices, labelContent, orNone } from "./services.ts";

const PREFIX = "containerd.io/distribution.source.";

/** Of a registry at a port first the label that is its own, then containerd's, which is for all ports of the host. */
function labelsFor({ host }: Reference): string[] {
  const name = host.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1");
  return [...new Set([host, name])].map((each) => `${PREFIX}${each}`);
}

/** The labels of a blob that has just come from there. */
export function sourceLabels(reference: Reference): Record<string, string> {
  return Object.fromEntries(labelsFor(reference).map((label) => [label, reference.repository]));
}

/**
 * A repository of the reference's registry, other than its own, that may have the blob: the one with most of its path's beginning in common, as containerd
 * chooses. One alone, as each that is asked and has it not begins an upload.
 */
export async function sourceFor(
  services: ImageServices,
  reference: Reference,
  digest: string,
): Promise<string | undefined> {
  const labels = await readLabels(services, digest);
  for (const label of labelsFor(reference)) {
    const others = listOf(labels[label]).filter((each) => each !== reference.repository);
    const [nearest] = others.sort((a, b) => inCommon(reference, b) - inCommon(reference, a));
    if (nearest !== undefined) return nearest;
  }
  return undefined;
}

/** Nothing happens if it is on record. */
export async function noteSource(
  services: ImageServices,
  reference: Reference,
  digest: string,
): Promise<void> {
  const labels = await readLabels(services, digest);
  const missing = labelsFor(reference).filter(
    (label) => !listOf(labels[label]).includes(reference.repository),
  );
  const fresh = missing.map((label) => [
    label,
    [...listOf(labels[label]), reference.repository].sort().join(","),
  ]);
  await labelContent(services, digest, Object.fromEntries(fresh));
}

async function readLabels(
  { content }: ImageServices,
  digest: string,
): Promise<Readonly<Record<string, string>>> {
  return (await orNone(content.info({ digest })))?.info?.labels ?? {};
}

function listOf(label = ""): string[] {
  return label.split(",").filter((each) => each !== "");
}

/** Parts of their paths. */
function inCommon({ repository }: Reference, other: string): number {
  const parts = repository.split("/");
  const theirs = other.split("/");
  const end = parts.findIndex((part, index) => part !== theirs[index]);
  return end < 0 ? parts.length : end;
}
