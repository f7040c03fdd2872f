// node:child_process as far as the command line uses it. Pipes go one way: to the child's stdin, and from whatever else it has.
import * as host from "holdfast:host";
import { EventEmitter } from "node:events";
import { goOnInNode } from "./go-on.ts";
import { Socket } from "./net.ts";
import { process } from "./process.ts";
import { signalName, signalOf } from "./signals.ts";

interface SpawnOptions {
  readonly detached?: boolean;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdio?: readonly ("pipe" | "ignore" | number)[];
}

/** One of the child's descriptors, and our end of it where it is a pipe. */
interface Place {
  readonly childs: number;
  readonly ours?: Socket;
}

class Child extends EventEmitter {
  readonly pid: number | undefined;
  readonly stdio: readonly (Socket | null)[];
  readonly #pidfd: number | undefined;
  #open = 0;
  #exit: host.Exit | undefined;

  constructor(
    stdio: readonly (Socket | null)[],
    started: { readonly pid: number; readonly pidfd: number } | undefined,
  ) {
    super();
    this.stdio = stdio;
    this.pid = started?.pid;
    this.#pidfd = started?.pidfd;
    if (started === undefined) return;
    for (const each of stdio) {
      if (each === null) continue;
      this.#open++;
      each.once("close", () => {
        this.#open--;
        this.#closed();
      });
    }
    host.watch(started.pidfd, host.READABLE, () => this.#exited(started.pidfd));
  }

  get stdin(): Socket | null {
    return this.stdio[0] ?? null;
  }

  get stdout(): Socket | null {
    return this.stdio[1] ?? null;
  }

  get stderr(): Socket | null {
    return this.stdio[2] ?? null;
  }

  kill(signal: string = "SIGTERM"): boolean {
    if (this.#pidfd === undefined || this.#exit !== undefined) return false;
    host.killPidfd(this.#pidfd, signalOf(signal));
    return true;
  }

  ref(): void {}

  unref(): void {}

  #exited(pidfd: number): void {
    const exit = host.reapPidfd(pidfd);
    if (exit === null) return;
    this.#exit = exit;
    host.unwatch(pidfd);
    host.close(pidfd);
    this.stdin?.destroy();
    this.emit("exit", ...resultOf(exit));
    this.#closed();
  }

  /** When it has ended and nothing more can come of it. */
  #closed(): void {
    if (this.#exit !== undefined && this.#open === 0) this.emit("close", ...resultOf(this.#exit));
  }
}

function resultOf({ status, signal }: host.Exit): [status: number | null, signal: string | null] {
  if (signal === 0) return [status, null];
  return [null, signalName(signal) ?? null];
}

function placeOf(wanted: "pipe" | "ignore" | number, index: number): Place {
  if (typeof wanted === "number") return { childs: wanted };
  if (wanted === "ignore") return { childs: -1 };
  const [readEnd, writeEnd] = host.pipe();
  const childs = index === 0 ? readEnd : writeEnd;
  host.setNonBlocking(childs, false);
  const ours =
    index === 0
      ? new Socket({ fd: writeEnd, readable: false })
      : new Socket({ fd: readEnd, writable: false });
  return { childs, ours };
}

export function spawn(file: string, words: readonly string[], options: SpawnOptions = {}): Child {
  const { detached = false, cwd, env = process.env, stdio = ["pipe", "pipe", "pipe"] } = options;
  const places = stdio.map(placeOf);
  const ours = places.map((place) => place.ours ?? null);
  try {
    const started = host.spawn({
      argv: [file, ...words],
      file,
      env: Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`])),
      fds: places.map(({ childs }) => childs),
      newSession: detached,
      ...(cwd !== undefined && { cwd }),
    });
    return new Child(ours, started);
  } catch (error) {
    const child = new Child(ours, undefined);
    process.nextTick(() => {
      child.emit("error", error);
      for (const each of ours) each?.destroy();
    });
    return child;
  } finally {
    for (const place of places) if (place.ours !== undefined) host.close(place.childs);
  }
}

/** Commander's, for verbs that are programs of their own: we have none. */
export function execFileSync(): never {
  return goOnInNode("a program that is waited for");
}
