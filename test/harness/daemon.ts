// A private daemon, containerd or holdfastd, in a temporary directory, with the shim under test on its PATH. Every e2e test file starts one, the
// demo and the bench too.
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { DEFAULT_RUNTIME_ROOT, runtimeRootOf } from "../../src/shims/runtime-root.ts";
import { type Output, Running } from "./command.ts";
import { Ctr } from "./ctr.ts";
import { EventLog } from "./events.ts";
import { eventually, patience } from "./eventually.ts";
import { shimOver } from "./keeper.ts";
import { Leftovers } from "./leftovers.ts";
import { ownNamespace } from "./namespace.ts";
import { buildRootfs, ociSpec, type SpecOptions } from "./rootfs.ts";
import { containerdVersion, daemonKind, HOLDFASTD, runtimeName, shimBinary } from "./runtime.ts";

export type DaemonKind = "containerd" | "holdfastd";

export interface DaemonOptions {
  readonly runtime?: string;
  /** The one under test (runtime.ts), if left out. */
  readonly kind?: DaemonKind;
  /** "debug", if left out: shims log every call then. */
  readonly logLevel?: "debug" | "info";
  /** Further lines for holdfastd's configuration file; tables come last there. */
  readonly config?: readonly string[];
  /** Lets containerd have its CRI plugin, with these lines for it; they may name the daemon's directory. */
  readonly cri?: (directory: string) => readonly string[];
  /** The root directory; one in the daemon's own, if left out. */
  readonly root?: string;
  /** The shim's binary behind the runtime's name; the one of that name, if left out. */
  readonly shim?: string;
  /** Words before the daemon's command line, to run it in a namespace of its own, say. They must end by exec. */
  readonly within?: readonly string[];
  /** Put before the rest of the daemon's PATH, to stand in for runc, say. */
  readonly pathDirectories?: readonly string[];
  readonly env?: Record<string, string>;
}

// The CRI plugin wants a network, and the rest of these want devices or file systems that a plain machine lacks.
const CRI_PLUGINS = ["io.containerd.grpc.v1.cri"];
const UNUSED_PLUGINS = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp",
];

/** A bound for hangs of calls that should be answered at once. */
const CALL_TIMEOUT_MS = patience(60_000);

/** The configuration file alone counts, whatever the environment of the tests says. */
const NO_SETTINGS = Object.fromEntries(
  ["ADDRESS", "ROOT", "STATE", "LOG_LEVEL", "METRICS_ADDRESS", "HOSTS_DIR", "CONFIG"].map((name) => [
    `HOLDFAST_${name}`,
    "",
  ]),
);

export class Daemon {
  readonly directory: string;
  readonly namespace: string;
  readonly address: string;
  readonly rootfs: string;
  readonly ctr: Ctr;
  readonly #options: DaemonOptions;
  readonly #leftovers: Leftovers;
  readonly #eventLogs: EventLog[] = [];
  #process: Running | undefined;

  private constructor(options: DaemonOptions) {
    this.#options = options;
    // The socket's path is short so that it fits into a unix address.
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), "holdfast-")));
    this.namespace = ownNamespace("e2e");
    this.address = join(this.directory, "c.sock");
    this.rootfs = buildRootfs(join(this.directory, "rootfs"));
    const { runtime } = this;
    const fifoDirectory = join(this.directory, "fifo");
    for (const path of [fifoDirectory, join(this.directory, "bin")]) mkdirSync(path);
    this.replaceShim(options.shim ?? shimBinary(runtime));
    this.#leftovers = new Leftovers(this.directory, this.address, this.namespace, this.#runtimeRoot);
    this.ctr = new Ctr({
      address: this.address,
      namespace: this.namespace,
      runtime,
      rootfs: this.rootfs,
      fifoDirectory,
    });
    this.#writeConfig();
  }

  /** Makes the directory, for a daemon that somebody else starts, with `argv` and `env`. */
  static prepare(options: DaemonOptions = {}): Daemon {
    return new Daemon(options);
  }

  /** Makes the directory and starts the daemon. */
  static async start(options: DaemonOptions = {}): Promise<Daemon> {
    const daemon = Daemon.prepare(options);
    await daemon.launch();
    return daemon;
  }

  /** The name of the runtime that its containers ask for. */
  get runtime(): string {
    return this.#options.runtime ?? runtimeName;
  }

  get kind(): DaemonKind {
    return this.#options.kind ?? daemonKind;
  }

  /** The command line of the daemon. */
  get argv(): string[] {
    const config = join(this.directory, "config.toml");
    return this.kind === "containerd" ? ["containerd", "--config", config] : [HOLDFASTD, "--config", config];
  }

  #writeConfig(): void {
    const place = [
      `root = ${JSON.stringify(this.#options.root ?? join(this.directory, "root"))}`,
      `state = ${JSON.stringify(join(this.directory, "state"))}`,
    ];
    const level = this.#options.logLevel ?? "debug";
    const config =
      this.kind === "containerd"
        ? containerdConfig(place, this.address, level, this.#options.cri?.(this.directory))
        : [...holdfastdConfig(place, this.address, level), ...(this.#options.config ?? [])];
    writeFileSync(join(this.directory, "config.toml"), `${config.join("\n")}\n`);
  }

  /** Puts another binary behind the runtime's name, as an upgrade does. */
  replaceShim(binary: string): void {
    const name = `containerd-shim-${this.runtime.split(".").slice(-2).join("-")}`;
    const link = join(this.directory, "bin", name);
    symlinkSync(binary, `${link}.new`);
    renameSync(`${link}.new`, link);
  }

  /** A client of the daemon's API, in the test's namespace. */
  client(): Promise<DaemonClient> {
    return DaemonClient.connect(this.address, this.namespace, CALL_TIMEOUT_MS);
  }

  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** Resolves when the daemon's process has ended, whatever ended it. */
  get exited(): Promise<Output | undefined> {
    return this.#process?.exited ?? Promise.resolve(undefined);
  }

  /** Waits for that, in bounds: one that never comes is a failure that says so. */
  async ended(): Promise<Output | undefined> {
    await eventually("the daemon to end", () => !this.isRunning);
    return this.exited;
  }

  get isRunning(): boolean {
    return (
      this.#process !== undefined &&
      this.#process.child.exitCode === null &&
      this.#process.child.signalCode === null
    );
  }

  /** What the daemon has logged since its last start. */
  get log(): string {
    return this.#process?.stderrText ?? "";
  }

  /** What its environment has beside, or in place of, ours. */
  get env(): Record<string, string> {
    const path = [
      join(this.directory, "bin"),
      ...(this.#options.pathDirectories ?? []),
      process.env.PATH ?? "",
    ];
    return { ...NO_SETTINGS, PATH: path.join(":"), ...this.#options.env };
  }

  /** Starts the daemon and resolves when it serves its API. `env` is for this time only. */
  async launch(env: Record<string, string> = {}): Promise<void> {
    // Should this process die, the daemon dies too: nobody would know of it.
    const daemon = new Running(
      ["setpriv", "--pdeathsig", "KILL", ...(this.#options.within ?? []), ...this.argv],
      {
        env: { ...this.env, ...env },
        timeoutMs: 3_600_000,
      },
    );
    this.#process = daemon;
    await daemon.printed(/containerd successfully booted|"msg":"serving"/);
  }

  /** SIGKILL, as when it crashes; resolves when it is gone. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#process?.exited;
  }

  /** SIGTERM, as at a service stop; resolves when it is gone. */
  async stop(): Promise<void> {
    this.#process?.kill("SIGTERM");
    await this.#process?.exited;
  }

  async crashAndRestart(): Promise<void> {
    await this.kill();
    await this.launch();
  }

  /** Starts listening; resolves once events arrive, so that nothing after it is missed. */
  async events(): Promise<EventLog> {
    const source = this.ctr.spawn(["events"], { timeoutMs: 3_600_000 });
    const log = new EventLog(source);
    this.#eventLogs.push(log);
    let round = 0;
    await eventually("the first event", async () => {
      round += 1;
      await this.ctr.do(["namespaces", "label", this.namespace, `round=${round}`]);
      return log.all.length > 0;
    });
    return log;
  }

  /** Makes a file in the containers' /tmp, as a sign for a container that waits for it. */
  async touch(name: string): Promise<void> {
    await writeFile(join(this.rootfs, "tmp", name), "");
  }

  /** Size in bytes of a file in the containers' root filesystem, -1 if there is none. */
  rootfsSize(path: string): number {
    return statSync(join(this.rootfs, path), { throwIfNoEntry: false })?.size ?? -1;
  }

  rootfsHas(path: string): boolean {
    return this.rootfsSize(path) >= 0;
  }

  bundle(id: string): string {
    return join(this.directory, "state", "io.containerd.runtime.v2.task", this.namespace, id);
  }

  get #runtimeRoot(): string {
    return this.kind === "holdfastd" ? runtimeRootOf(join(this.directory, "state")) : DEFAULT_RUNTIME_ROOT;
  }

  /** Where runc keeps its state of a container. */
  runtimeState(id: string): string {
    return join(this.#runtimeRoot, this.namespace, id);
  }

  /** The pid of a container's init, as runc wrote it down. */
  initPid(id: string): number {
    return Number(readFileSync(join(this.bundle(id), "init.pid"), "utf8"));
  }

  /** The pid of the shim of a running container: the parent that its init got when runc had gone. */
  async shimPid(id: string): Promise<number> {
    return shimOver(this.initPid(id));
  }

  /** Writes a spec for Ctr.startSpec and returns its path. */
  writeSpec(id: string, options: Omit<SpecOptions, "rootfs" | "cgroupsPath">): string {
    const path = join(this.directory, `${id}.json`);
    const spec = ociSpec({ ...options, rootfs: this.rootfs, cgroupsPath: `/${this.namespace}/${id}` });
    writeFileSync(path, JSON.stringify(spec));
    return path;
  }

  /** What containers have left behind, a line each: "" when all is well. Waits a while for shims that are still on their way out. */
  async leftovers(): Promise<string> {
    return (await this.#leftovers.settle(this.pid, this.ctr.ids)).join("\n");
  }

  /** Ends everything that was started and removes the directory, whatever state a failed test left it in. */
  async close(): Promise<void> {
    for (const log of this.#eventLogs) log.close();
    await this.kill();
    await this.#leftovers.destroy(this.ctr.ids);
    await rm(this.directory, { recursive: true, force: true });
  }
}

function containerdConfig(
  place: readonly string[],
  address: string,
  level: string,
  cri: readonly string[] | undefined,
): string[] {
  const unused = cri === undefined ? [...CRI_PLUGINS, ...UNUSED_PLUGINS] : UNUSED_PLUGINS;
  return [
    // The CRI plugin's tables are named otherwise since 2.0, in the third form of the file.
    cri !== undefined && containerdVersion >= 2 ? "version = 3" : "version = 2",
    ...place,
    `disabled_plugins = ${JSON.stringify(unused)}`,
    "[grpc]",
    `  address = ${JSON.stringify(address)}`,
    "[debug]",
    `  level = "${level}"`,
    ...(cri ?? []),
  ];
}

function holdfastdConfig(place: readonly string[], address: string, level: string): string[] {
  return [...place, `address = ${JSON.stringify(address)}`, `log_level = "${level}"`];
}
