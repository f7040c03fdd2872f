// A private dockerd on a holdfastd or containerd of its own, and the docker program. Used by the tests in test/docker.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { type CommandOptions, check, type Output, Running, run } from "./command.ts";
import { Daemon } from "./daemon.ts";
import { shimOver } from "./keeper.ts";
import { OUR_RUNTIME, shimBinary } from "./runtime.ts";
import { Terminal } from "./terminal.ts";

/** Made from the busybox root file system. */
export const IMAGE = "busybox";

/** Major version of the installed Docker, such as 20; NaN if there is none. */
export const dockerVersion: number = Number(
  spawnSync("dockerd", ["--version"], { encoding: "utf8" }).stdout?.match(/ (\d+)\./)?.[1],
);

/** How containers come to our shim: each names it, dockerd names it for all, or it stands in the place of Docker's usual one; "plain" is Docker without us. */
export type Way = "each" | "default" | "instead" | "store" | "plain";

export class Docker {
  readonly daemon: Daemon;
  readonly #directory: string;
  readonly #socket: string;
  #dockerd: Running | undefined;
  #bin: string | undefined;

  readonly #way: Way;

  private constructor(daemon: Daemon, way: Way) {
    this.daemon = daemon;
    this.#way = way;
    this.#directory = join(daemon.directory, "docker");
    this.#socket = join(this.#directory, "docker.sock");
    mkdirSync(this.#directory, { recursive: true });
  }

  /** `runtimes` is holdfastd's table: by default Docker's usual runtime is our shim. */
  static async start(
    runtimes: Readonly<Record<string, string>> = { "io.containerd.runc.v2": "io.containerd.holdfast.v2" },
  ): Promise<Docker> {
    const table = Object.entries(runtimes).map(
      ([name, target]) => `${JSON.stringify(name)} = ${JSON.stringify(target)}`,
    );
    const holdfastd = await Daemon.start({ kind: "holdfastd", config: ["[runtimes]", ...table] });
    return Docker.#on(holdfastd, "instead");
  }

  /** On a holdfastd that has the images too: Docker's containerd image store, which is none of its own drivers. */
  static async onImageStore(): Promise<Docker> {
    const runtimes = ["[runtimes]", '"io.containerd.runc.v2" = "io.containerd.holdfast.v2"'];
    const holdfastd = await Daemon.start({ kind: "holdfastd", config: runtimes });
    const settings = { features: { "containerd-snapshotter": true } };
    return Docker.#on(holdfastd, "store", JSON.stringify(settings));
  }

  /** On a containerd; `settings` is the text of dockerd's own configuration file. */
  static async onContainerd(way: Way, settings?: string): Promise<Docker> {
    const bin = mkdtempSync(join(tmpdir(), "holdfast-docker-"));
    if (way === "instead") symlinkSync(shimBinary(OUR_RUNTIME), join(bin, "containerd-shim-runc-v2"));
    const daemon = await Daemon.start({ kind: "containerd", runtime: OUR_RUNTIME, pathDirectories: [bin] });
    const docker = await Docker.#on(daemon, way, settings);
    docker.#bin = bin;
    return docker;
  }

  static async #on(daemon: Daemon, way: Way, settings = "{}"): Promise<Docker> {
    const docker = new Docker(daemon, way);
    writeFileSync(join(docker.#directory, "daemon.json"), settings);
    await docker.launch();
    await check([
      "sh",
      "-c",
      `tar -C ${daemon.rootfs} -c . | docker --host ${docker.host} import - ${IMAGE}`,
    ]);
    return docker;
  }

  get host(): string {
    return `unix://${this.#socket}`;
  }

  /** Starts dockerd; resolves when it serves. */
  async launch(): Promise<void> {
    const at = (name: string): string => join(this.#directory, name);
    const flags = [
      ...["--containerd", this.daemon.address, "--host", `unix://${this.#socket}`],
      ...["--data-root", at("data"), "--exec-root", at("exec"), "--pidfile", at("pid")],
      ...["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"],
      // Checkpoints are an experiment of Docker's.
      ...["--config-file", at("daemon.json"), "--live-restore", "--experimental"],
      ...(this.#way === "store" ? [] : [`--storage-driver=${this.#way === "plain" ? "overlay2" : "vfs"}`]),
      ...(this.#way === "default" ? ["--default-runtime", OUR_RUNTIME] : []),
    ];
    const dockerd = new Running(["setpriv", "--pdeathsig", "KILL", "dockerd", ...flags], {
      timeoutMs: 3_600_000,
    });
    this.#dockerd = dockerd;
    await dockerd.printed(/API listen on/, 60_000);
  }

  /** SIGKILL, as when it crashes. */
  async kill(): Promise<void> {
    this.#dockerd?.kill("SIGKILL");
    await this.#dockerd?.exited;
  }

  argv(args: readonly string[]): string[] {
    const [verb = "", ...rest] = args;
    const runs = this.#way === "each" && (verb === "run" || verb === "create");
    return ["docker", "--host", this.host, verb, ...(runs ? ["--runtime", OUR_RUNTIME] : []), ...rest];
  }

  /** To its end, whatever its exit status. */
  try(args: readonly string[], options: CommandOptions = {}): Promise<Output> {
    return run(this.argv(args), options);
  }

  /** Rejects unless it succeeds. Returns its stdout without the last newline. */
  async do(args: readonly string[]): Promise<string> {
    return (await check(this.argv(args))).trimEnd();
  }

  spawn(args: readonly string[], options: CommandOptions = {}): Running {
    return new Running(this.argv(args), options);
  }

  terminal(args: readonly string[]): Terminal {
    return Terminal.run(this.argv(args), { rows: 30, columns: 100 });
  }

  /** A field of `docker inspect`, such as ".State.ExitCode". */
  inspect(name: string, field: string): Promise<string> {
    return this.do(["inspect", "--format", `{{${field}}}`, name]);
  }

  /** Makes a file in the container of a process, without asking anybody. */
  touchIn(pid: number, path: string): Promise<void> {
    return writeFile(`/proc/${pid}/root${path}`, "");
  }

  /** The pid of the shim of a running container: the parent of its first process. */
  async shimPid(name: string): Promise<number> {
    return shimOver(Number(await this.inspect(name, ".State.Pid")));
  }

  /** The program of that shim. */
  async shimProgram(name: string): Promise<string> {
    return basename(readlinkSync(`/proc/${await this.shimPid(name)}/exe`));
  }

  async close(): Promise<void> {
    await this.try(["ps", "--all", "--quiet"]).then(async ({ stdout }) => {
      const ids = stdout.split("\n").filter((id) => id !== "");
      if (ids.length > 0) await this.try(["rm", "--force", ...ids]);
    });
    this.#dockerd?.kill("SIGTERM");
    await this.#dockerd?.exited;
    await this.daemon.close();
    if (this.#bin !== undefined) rmSync(this.#bin, { recursive: true });
  }
}
