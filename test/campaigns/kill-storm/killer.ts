// Kills and stops whom it meets, at moments drawn from the seed: daemon, shims, keepers, runtimes, loggers. Used by campaign.ts.
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { allPids, processInfo } from "../../harness/processes.ts";
import type { Random } from "../random.ts";
import type { Hit, Storm } from "./storm.ts";

const SHIM = "/containerd-shim-";
const KEEPER = "holdfast-keeper";
/** So many steps of lives come between two deeds: a slow machine has as many of them as a fast one. */
const STEPS: readonly [number, number] = [0, 12];
/** How far into a step a deed is done, in ms. */
const INTO: readonly [number, number] = [0, 40];
/** How long somebody is stopped, in ms. */
const STOPPED: readonly [number, number] = [10, 300];

export type Deed = readonly [victim: Hit | "daemon", signal: "SIGKILL" | "SIGSTOP", weight: number];

/** With a keeper beside each shim nothing may be lost by a shim's death, so that is tried more often then. */
export const DEEDS: readonly Deed[] = [
  ["daemon", "SIGKILL", 4],
  ["daemon", "SIGSTOP", 3],
  ["shim", "SIGKILL", 24],
  ["shim", "SIGSTOP", 10],
  ["keeper", "SIGKILL", 10],
  ["keeper", "SIGSTOP", 4],
  ["runc", "SIGKILL", 20],
  ["runc", "SIGSTOP", 5],
  ["logger", "SIGKILL", 12],
  ["logger", "SIGSTOP", 5],
];

interface Candidate {
  readonly pid: number;
  readonly role: Hit | "daemon";
  readonly id: string;
}

export class Killer {
  readonly #storm: Storm;
  readonly #random: Random;
  readonly #deeds: readonly Deed[];
  /** Who is stopped now. */
  readonly #stopped = new Set<number>();

  constructor(storm: Storm, deeds: readonly Deed[] = DEEDS) {
    this.#storm = storm;
    this.#random = storm.run.random.branch();
    this.#deeds = deeds.flatMap((deed) => Array.from({ length: deed[2] }, () => deed));
  }

  /** Until the storm is over; settles when nobody is stopped any more. */
  async rage(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      await this.#storm.steps(this.#random.between(...STEPS));
      await sleep(this.#random.between(...INTO));
      if (!isOver()) this.#strike(this.#random.pick(this.#deeds));
    }
    for (const pid of [...this.#stopped]) this.#release(pid);
  }

  #strike([victim, signal]: Deed): void {
    const candidates = this.#candidates().filter(({ role }) => role === victim);
    if (candidates.length === 0) return;
    const { pid, role, id } = this.#random.pick(candidates);
    // Noted before: who is hit sees it at once.
    if (role !== "daemon" && signal === "SIGKILL") this.#storm.hit(id, role);
    if (!send(pid, signal)) return;
    this.#storm.run.did(`${role === "daemon" ? this.#storm.daemon.kind : role} ${signal}`);
    if (signal === "SIGKILL") return;
    this.#stopped.add(pid);
    setTimeout(() => this.#release(pid), this.#random.between(...STOPPED));
  }

  #release(pid: number): void {
    if (this.#stopped.delete(pid)) send(pid, "SIGCONT");
  }

  /** Ours only: what names the daemon's directory. */
  #candidates(): Candidate[] {
    const { daemon } = this.#storm;
    const found: Candidate[] = daemon.isRunning ? [{ pid: daemon.pid, role: "daemon", id: "" }] : [];
    for (const pid of allPids()) {
      const commandLine = text(`/proc/${pid}/cmdline`);
      const words = commandLine.split("\0");
      const [program = ""] = words;
      const id = isOf(words, daemon) ? idOf(words) : loggedId(pid, words, this.#storm);
      if (id === undefined || !daemon.ctr.ids.has(id)) continue;
      if (program.includes(SHIM)) {
        if (isFork(pid, commandLine)) continue;
        found.push({ pid, role: "shim", id });
        const keeper = keeperOf(pid);
        if (keeper !== undefined) {
          this.#storm.hasKeepers = true;
          found.push({ pid: keeper, role: "keeper", id });
        }
      } else if (program.endsWith("runc")) found.push({ pid, role: "runc", id });
      else if (words.includes(this.#storm.logger) || program === "cat")
        found.push({ pid, role: "logger", id });
    }
    return found;
  }
}

/** Whether a shim has forked it and it is no runtime or logger yet: it is one when the signal comes, and the hit would be noted as the shim's. */
function isFork(pid: number, commandLine: string): boolean {
  const parent = processInfo(pid)?.parent;
  return parent !== undefined && text(`/proc/${parent}/cmdline`) === commandLine;
}

/** The process that brings a shim back when it is killed, if it has one: its parent. */
function keeperOf(shim: number): number | undefined {
  const parent = processInfo(shim)?.parent;
  return parent !== undefined && text(`/proc/${parent}/cmdline`).startsWith(KEEPER) ? parent : undefined;
}

/** The container's id on the command line of a shim or of a runtime's command. A container's own first process, still "runc init", has none. */
function idOf(words: readonly string[]): string | undefined {
  const flag = words.indexOf("-id");
  if (flag >= 0) return words[flag + 1];
  return words.find((word) => /^storm-\d+$/.test(word));
}

/** Another storm on this machine has containers of the same names. */
function isOf(words: readonly string[], { namespace, directory }: Storm["daemon"]): boolean {
  return words.some(
    (word) => word === namespace || word.includes(`${directory}/`) || word.endsWith(`/${namespace}`),
  );
}

function loggedId(pid: number, words: readonly string[], { logger, daemon }: Storm): string | undefined {
  if (words[0] !== "cat" && !words.includes(logger)) return undefined;
  const environment = text(`/proc/${pid}/environ`).split("\0");
  if (!environment.includes(`CONTAINER_NAMESPACE=${daemon.namespace}`)) return undefined;
  return environment.find((entry) => entry.startsWith("CONTAINER_ID="))?.slice("CONTAINER_ID=".length);
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}
