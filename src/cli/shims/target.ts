// Which shim `holdfast shim <id|socket|pid>` means, and which of its containers.
import { statSync } from "node:fs";
import { Problem, USAGE } from "../text/problem.ts";
import { isKeeper } from "./keeper.ts";
import { childrenOf, statOf } from "./proc.ts";
import { findShims, type ShimProcess, shimProcess } from "./processes.ts";

export interface ShimTarget {
  /** undefined for a socket whose owner we cannot see. */
  readonly shim: ShimProcess | undefined;
  readonly socket: string;
  /** undefined if the shim has none, or several. */
  readonly container: string | undefined;
}

/**
 * `namespace` is the one that a flag demands; of several shims of that name the one in `preferred` is meant, the namespace that the environment
 * says. Throws a Problem if nothing, or more than one thing, is meant.
 */
export function findTarget(
  word: string,
  namespace: string | undefined,
  preferred: string | undefined,
): ShimTarget {
  const path = word.replace(/^unix:\/\//, "");
  if (path.startsWith("/") || path.startsWith("@")) return bySocket(path);
  const shims = findShims().filter((shim) => namespace === undefined || shim.namespace === namespace);
  const all = shims.filter((shim) => shim.id === word || shim.containers.includes(word));
  const near = all.filter((shim) => shim.namespace === preferred);
  const named = near.length > 0 ? near : all;
  if (named.length > 1) throw new Problem(ambiguous(word, named), USAGE);
  const shim = named[0] ?? (/^\d+$/.test(word) ? byPid(Number(word)) : undefined);
  if (shim === undefined) {
    throw new Problem(
      `no shim of ${word}${namespace === undefined ? "" : ` in namespace ${namespace}`}: "holdfast shims" lists them`,
    );
  }
  const socket = shim.socket;
  if (socket === undefined) throw new Problem(`shim ${shim.pid} does not listen on any socket`);
  return { shim, socket, container: containerOf(shim, word) };
}

function bySocket(path: string): ShimTarget {
  const shim = findShims().find(({ sockets }) => sockets.includes(path));
  if (shim === undefined && path.startsWith("/")) {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) throw new Problem(`${path}: no such socket`);
    if (!stat.isSocket()) throw new Problem(`${path}: not a socket`);
  }
  return { shim, socket: path, container: shim && containerOf(shim, undefined) };
}

/** The shim of that pid, or the one above the container's process of that pid; a keeper stands for its shim. */
function byPid(pid: number): ShimProcess | undefined {
  for (let next = pid; next > 1; next = statOf(next)?.parent ?? 0) {
    const candidates = isKeeper(next) ? childrenOf(next) : [next];
    const shim = candidates.map((pid) => shimProcess(pid)).find((found) => found !== undefined);
    if (shim !== undefined) return shim;
  }
  return undefined;
}

function containerOf(shim: ShimProcess, word: string | undefined): string | undefined {
  if (word !== undefined && shim.containers.includes(word)) return word;
  if (shim.containers.length === 1) return shim.containers[0];
  // Its bundle may be gone while the shim still knows it.
  return shim.containers.length === 0 || shim.containers.includes(shim.id) ? shim.id : undefined;
}

function ambiguous(word: string, shims: readonly ShimProcess[]): string {
  const places = shims.map(({ pid, namespace }) => `${pid} (namespace ${namespace})`).join(", ");
  return `${word} is more than one shim: ${places}\nGive -n, or the pid.`;
}

/** What to add to the news that a shim does not answer; empty if it is not known to be stopped. */
export function stoppedHint(shim: ShimProcess | undefined): string {
  return shim?.stat.state === "T" ? `; a signal has stopped it: kill -CONT ${shim.pid}` : "";
}
