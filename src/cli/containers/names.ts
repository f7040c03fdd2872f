// How containers may be called on the command line: by id, by the beginning of one that nobody else has, and, of a pod, as namespace/pod/container.
import type { Container } from "../../api/generated/containers.ts";
import { Problem, USAGE } from "../text/problem.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { orNone } from "./record.ts";

/** What a container is to Kubernetes; undefined for one that is none of a pod. */
export interface PodPlace {
  readonly namespace: string;
  readonly pod: string;
  /** Empty for the pod's sandbox. */
  readonly container: string;
}

export function podPlaceOf({ labels }: Pick<Container, "labels">): PodPlace | undefined {
  const pod = labels["io.kubernetes.pod.name"];
  const namespace = labels["io.kubernetes.pod.namespace"];
  if (pod === undefined || namespace === undefined) return undefined;
  return { namespace, pod, container: labels["io.kubernetes.container.name"] ?? "" };
}

/** "namespace/pod/container", or "namespace/pod" for a sandbox. */
export function podText({ namespace, pod, container }: PodPlace): string {
  return [namespace, pod, container].filter((part) => part !== "").join("/");
}

/**
 * The id of the container that is meant: an id wins over what begins with it. A word that means none is given back, for the daemon to complain of.
 * Throws a Problem for one that means several.
 */
export async function containerId(daemon: DaemonClient, word: string): Promise<string> {
  const isPod = word.includes("/");
  if (word === "" || (!isPod && (await orNone(exact(daemon, word))) !== undefined)) return word;
  const { containers } = await daemon.containers.list({ filters: [] });
  const meant = isPod ? inPod(containers, word) : containers.filter(({ id }) => id.startsWith(word));
  if (meant.length > 1) throw new Problem(`${word} may be ${listed(meant)}: say more of it`, USAGE);
  return meant[0]?.id ?? word;
}

/** What cannot be an id is none. */
async function exact(daemon: DaemonClient, word: string): Promise<unknown> {
  return /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/.test(word) ? daemon.containers.get({ id: word }) : undefined;
}

/** Of a restarted container Kubernetes keeps the one before: the newest is meant. */
function inPod(containers: readonly Container[], word: string): Container[] {
  const meant = containers.filter((container) => {
    const place = podPlaceOf(container);
    return place !== undefined && podText(place) === word;
  });
  const [newest] = meant.sort(byAge);
  return newest === undefined ? [] : [newest];
}

/** The newest first; by id among those of the same moment, so that the order is the same each time. */
export function byAge(a: Container, b: Container): number {
  const { seconds = 0n, nanos = 0 } = a.createdAt ?? {};
  const { seconds: otherSeconds = 0n, nanos: otherNanos = 0 } = b.createdAt ?? {};
  if (seconds !== otherSeconds) return seconds > otherSeconds ? -1 : 1;
  if (nanos !== otherNanos) return otherNanos - nanos;
  return a.id < b.id ? -1 : 1;
}

const SHOWN = 5;

function listed(containers: readonly Container[]): string {
  const ids = containers.map(({ id }) => id).sort();
  const more = ids.length > SHOWN ? `, and ${ids.length - SHOWN} more` : "";
  return `${ids.slice(0, SHOWN).join(", ")}${more}`;
}
