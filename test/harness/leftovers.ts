// Finds what a test's containers left on the machine: processes, sockets, mounts, runtime state, control groups, bundles. Daemon uses it.
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.ts";
import { directoriesIn, groupsIn, removeGroup, thawGroupsIn } from "./control-groups.ts";
import { eventually, patience } from "./eventually.ts";
import { keepersBelow } from "./keeper.ts";
import { isRunning, type ProcessInfo, processesMentioning } from "./processes.ts";

const SOCKETS = "/run/containerd/s";

/** The socket that containerd's shims use for a group of containers (docs/shim-protocol.md). */
export function shimSocket(address: string, namespace: string, group: string): string {
  return join(
    SOCKETS,
    createHash("sha256")
      .update(join(address, namespace, group))
      .digest("hex"),
  );
}

/** Mount points below a directory, the deepest first. */
export function mountsBelow(directory: string): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trim().split("\n");
  const points = lines.map((line) => line.split(" ")[4] ?? "");
  return points.filter((point) => point.startsWith(`${directory}/`)).sort((a, b) => b.length - a.length);
}

export class Leftovers {
  readonly #directory: string;
  readonly #address: string;
  readonly #namespace: string;
  /** Of the daemon's containers. */
  readonly #runtimeRoot: string;

  constructor(directory: string, address: string, namespace: string, runtimeRoot: string) {
    this.#runtimeRoot = runtimeRoot;
    this.#directory = directory;
    this.#address = address;
    this.#namespace = namespace;
  }

  /** Shims, their helpers and container processes; not the daemon itself, nor its clients. */
  #processes(daemonPid: number): ProcessInfo[] {
    const own = [
      ...processesMentioning(`${this.#directory}/`),
      ...processesMentioning(`/${this.#namespace}/`),
      ...keepersBelow(this.#directory),
    ];
    const unique = new Map(own.map((info) => [info.pid, info]));
    return [...unique.values()].filter((info) => info.pid !== daemonPid && info.executable !== "ctr");
  }

  #sockets(groups: Iterable<string>): string[] {
    return [...groups].map((group) => shimSocket(this.#address, this.#namespace, group)).filter(existsSync);
  }

  #bundles(): string[] {
    return directoriesIn(join(this.#directory, "state", "io.containerd.runtime.v2.task", this.#namespace));
  }

  #list(daemonPid: number, groups: Iterable<string>): string[] {
    return [
      ...this.#processes(daemonPid).map((info) => `process ${info.pid} (${info.state}): ${info.commandLine}`),
      ...this.#sockets(groups).map((path) => `socket ${path}`),
      ...mountsBelow(this.#directory).map((path) => `mount ${path}`),
      ...directoriesIn(join(this.#runtimeRoot, this.#namespace)).map((path) => `runtime state ${path}`),
      ...groupsIn(this.#namespace).map((path) => `control group ${this.#namespace}/${path}`),
      ...this.#bundles().map((path) => `bundle ${path}`),
    ];
  }

  /** Waits until nothing is left; returns what still is when patience ends. */
  async settle(daemonPid: number, groups: Iterable<string>): Promise<string[]> {
    let left: string[] = [];
    try {
      const isNothing = (): boolean => {
        left = this.#list(daemonPid, groups);
        return left.length === 0;
      };
      // What a failed test has left does not go, on a slow machine either.
      await eventually("nothing to be left", isNothing, Math.min(patience(60_000), 120_000));
    } catch {
      return left;
    }
    return [];
  }

  /** Removes by force what is there: the last resort after a failed test. The daemon must have ended. */
  async destroy(groups: Iterable<string>): Promise<void> {
    const everything = (): ProcessInfo[] => [
      ...processesMentioning(`${this.#directory}/`),
      ...processesMentioning(`/${this.#namespace}/`),
      ...keepersBelow(this.#directory),
    ];
    thawGroupsIn(this.#namespace);
    await eventually("its processes to end", () => {
      const left = everything().filter((info) => isRunning(info.pid));
      for (const info of left) endProcess(info.pid);
      return left.length === 0;
    });
    for (const path of mountsBelow(this.#directory)) await run(["umount", "--lazy", path]);
    for (const path of this.#sockets(groups)) rmSync(path, { force: true });
    rmSync(join(this.#runtimeRoot, this.#namespace), { recursive: true, force: true });
    removeGroup(this.#namespace);
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself in between.
  }
}
