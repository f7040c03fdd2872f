// Runs the shim's binary as the daemon would and talks to it over its socket, with no daemon at all: for the errors, the order of calls and
// the timing that ctr cannot produce. Used by test/e2e/direct-*.test.ts.
import {
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DEFAULT_RUNTIME_ROOT } from "../../src/shims/runtime-root.ts";
import { type Output, run } from "./command.ts";
import { EventsServer } from "./events-server.ts";
import { makeFifo } from "./fifo.ts";
import { Leftovers } from "./leftovers.ts";
import { ownNamespace } from "./namespace.ts";
import { buildRootfs, ociSpec, type SpecOptions } from "./rootfs.ts";
import { isGoShim, shimBinary } from "./runtime.ts";
import { ShimClient } from "./shim-client.ts";

/** What a test says of its container; the root filesystem is the busybox one unless it names another. */
export type BundleSpec = Omit<SpecOptions, "rootfs" | "cgroupsPath"> & { readonly rootfs?: string };

export interface StartOptions {
  readonly stdin?: Uint8Array;
  readonly env?: Record<string, string>;
  readonly debug?: boolean;
  /** A command that runs the shim's binary, such as prlimit. */
  readonly wrapper?: readonly string[];
}

/** One temporary directory with a root filesystem, an events server in the daemon's place, bundles and their shims. */
export class Playground {
  readonly directory: string;
  readonly namespace: string;
  readonly address: string;
  readonly rootfs: string;
  readonly events: EventsServer;
  readonly binary: string = shimBinary();
  readonly #leftovers: Leftovers;
  readonly #groups = new Set<string>();
  readonly #logs = new Map<string, Socket>();
  #logText = "";

  private constructor(events: EventsServer, directory: string) {
    this.directory = directory;
    this.events = events;
    this.namespace = ownNamespace("direct");
    this.address = join(directory, "c.sock");
    this.rootfs = buildRootfs(join(directory, "rootfs"));
    this.#leftovers = new Leftovers(directory, this.address, this.namespace, DEFAULT_RUNTIME_ROOT);
  }

  static async create(): Promise<Playground> {
    const directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-direct-")));
    const events = await EventsServer.listen(join(directory, "c.sock.ttrpc"));
    return new Playground(events, directory);
  }

  bundle(id: string): string {
    return join(this.directory, "state", "io.containerd.runtime.v2.task", this.namespace, id);
  }

  runtimeState(id: string): string {
    return join(DEFAULT_RUNTIME_ROOT, this.namespace, id);
  }

  /** What the shims have logged. */
  get log(): string {
    return this.#logText;
  }

  /** Writes config.json of a bundle that is there. */
  writeSpec(id: string, spec: BundleSpec): void {
    const whole = ociSpec({ rootfs: this.rootfs, ...spec, cgroupsPath: `/${this.namespace}/${id}` });
    writeFileSync(join(this.bundle(id), "config.json"), JSON.stringify(whole));
  }

  /**
   * Makes a bundle as the daemon does: config.json, an empty rootfs directory, and the fifo that takes the shim's log.
   * Without a spec, config.json is left out.
   */
  makeBundle(id: string, spec: BundleSpec | undefined): string {
    const bundle = this.bundle(id);
    mkdirSync(join(bundle, "rootfs"), { recursive: true });
    if (spec !== undefined) this.writeSpec(id, spec);
    const log = makeFifo(join(bundle, "log"));
    // Opened for writing too, so that it is never at its end.
    const socket = new Socket({
      fd: openSync(log, constants.O_RDWR | constants.O_NONBLOCK),
      readable: true,
      writable: false,
    });
    socket.on("data", (chunk) => {
      this.#logText += chunk.toString();
    });
    this.#logs.set(id, socket);
    this.#groups.add(id);
    return bundle;
  }

  /** Notes a group name, so that its socket is looked for at the end. */
  noteGroup(group: string): void {
    this.#groups.add(group);
  }

  /** The flags that the daemon gives. */
  flags(id: string): string[] {
    return [
      "-namespace",
      this.namespace,
      "-address",
      this.address,
      "-publish-binary",
      "/usr/bin/containerd",
      "-id",
      id,
    ];
  }

  /** Runs the binary in a bundle with these arguments, to its end. */
  invoke(args: readonly string[], cwd: string, options: StartOptions = {}): Promise<Output> {
    return run([...(options.wrapper ?? []), this.binary, ...args], {
      cwd,
      stdin: options.stdin ?? new Uint8Array(0),
      env: {
        TTRPC_ADDRESS: `${this.address}.ttrpc`,
        GRPC_ADDRESS: this.address,
        NAMESPACE: this.namespace,
        MAX_SHIM_VERSION: "2",
        GOMAXPROCS: "2",
        ...options.env,
      },
    });
  }

  /** `start` in a bundle; rejects unless it succeeds silently. Returns the address that it printed. */
  async start(id: string, options: StartOptions = {}): Promise<string> {
    const debug = options.debug === true ? ["-debug"] : [];
    const output = await this.invoke([...this.flags(id), ...debug, "start"], this.bundle(id), options);
    if (output.status !== 0 || output.stderr !== "")
      throw new Error(`start ${id}: ${JSON.stringify(output)}`);
    return output.stdout;
  }

  /** Makes a bundle, starts its shim and connects to it. */
  async shim(id: string, spec: BundleSpec, options: StartOptions = {}): Promise<ShimClient> {
    this.makeBundle(id, spec);
    return ShimClient.connect(await this.start(id, options));
  }

  /** `delete` as the daemon runs it for a dead shim. */
  delete(id: string): Promise<Output> {
    return this.invoke([...this.flags(id), "-bundle", this.bundle(id), "delete"], this.bundle(id));
  }

  /** Kills a container and deletes it, whatever its state. */
  async endContainer(shim: ShimClient, id: string): Promise<void> {
    // Refused where it has ended already.
    await shim.kill(id, 9).catch(() => {});
    await shim.wait(id);
    await shim.delete(id);
  }

  /** What the daemon does after a Delete: lets the shim go and removes the bundle. */
  async forget(shim: ShimClient, id: string): Promise<void> {
    await shim.shutdown(id).catch(() => {});
    shim.close();
    await this.removeBundle(id);
  }

  async removeBundle(id: string): Promise<void> {
    this.#logs.get(id)?.destroy();
    this.#logs.delete(id);
    await rm(this.bundle(id), { recursive: true, force: true });
  }

  /** What is left of the shims and containers, a line each, once nothing changes any more. Bundles must have been removed. */
  async leftovers(): Promise<string> {
    return (await this.#leftovers.settle(-1, this.#groups)).join("\n");
  }

  async close(): Promise<void> {
    for (const log of this.#logs.values()) log.destroy();
    await this.events.close();
    await this.#leftovers.destroy(this.#groups);
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** The address file that the daemon reattaches by. */
export function addressFile(bundle: string): string {
  return readFileSync(join(bundle, "address"), "utf8");
}

/** The words for an error that the Go shim gives in its own way. */
export function onGo<T>(go: T, ours: T): T {
  return isGoShim ? go : ours;
}
