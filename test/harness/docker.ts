// A private dockerd on a holdfastd of its own, and the docker program. Used by the tests in test/docker.
import { mkdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type CommandOptions, check, type Output, Running, run } from "./command.ts";
import { Daemon } from "./daemon.ts";
import { parentOf } from "./processes.ts";
import { Terminal } from "./terminal.ts";

/** Made from the busybox root file system. */
export const IMAGE = "busybox";
/** Docker's own namespace in the daemon. */
const NAMESPACE = "moby";

export class Docker {
  readonly holdfastd: Daemon;
  readonly #directory: string;
  readonly #socket: string;
  #dockerd: Running | undefined;

  private constructor(holdfastd: Daemon) {
    this.holdfastd = holdfastd;
    this.#directory = join(holdfastd.directory, "docker");
    this.#socket = join(this.#directory, "docker.sock");
    mkdirSync(this.#directory);
  }

  /** `runtimes` is holdfastd's table: by default Docker's usual runtime is our shim. */
  static async start(
    runtimes: Readonly<Record<string, string>> = { "io.containerd.runc.v2": "io.containerd.holdfast.v2" },
  ): Promise<Docker> {
    const table = Object.entries(runtimes).map(
      ([name, target]) => `${JSON.stringify(name)} = ${JSON.stringify(target)}`,
    );
    const holdfastd = await Daemon.start({ kind: "holdfastd", config: ["[runtimes]", ...table] });
    const docker = new Docker(holdfastd);
    await docker.launch();
    await check([
      "sh",
      "-c",
      `tar -C ${holdfastd.rootfs} -c . | docker --host unix://${docker.#socket} import - ${IMAGE}`,
    ]);
    return docker;
  }

  /** Starts dockerd; resolves when it serves. */
  async launch(): Promise<void> {
    const at = (name: string): string => join(this.#directory, name);
    const flags = [
      ...["--containerd", this.holdfastd.address, "--host", `unix://${this.#socket}`],
      ...["--data-root", at("data"), "--exec-root", at("exec"), "--pidfile", at("pid")],
      ...["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"],
      ...["--live-restore", "--storage-driver=vfs"],
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
    return ["docker", "--host", `unix://${this.#socket}`, ...args];
  }

  /** To its end, whatever its exit status. */
  try(args: readonly string[], options: CommandOptions = {}): Promise<Output> {
    return run(this.argv(args), options);
  }

  /** Rejects unless it succeeds. Returns its stdout without the last newline. */
  async do(args: readonly string[]): Promise<string> {
    return (await check(this.argv(args))).trimEnd();
  }

  spawn(args: readonly string[]): Running {
    return new Running(this.argv(args), {});
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

  /** The pid of the shim of a running container. */
  async shimPid(name: string): Promise<number> {
    const client = (await this.holdfastd.client()).inNamespace(NAMESPACE);
    const id = await this.inspect(name, ".Id");
    const { process } = await client.tasks.get({ containerId: id, execId: "" });
    client.close();
    return parentOf(process?.pid ?? 0);
  }

  async close(): Promise<void> {
    await this.try(["ps", "--all", "--quiet"]).then(async ({ stdout }) => {
      const ids = stdout.split("\n").filter((id) => id !== "");
      if (ids.length > 0) await this.try(["rm", "--force", ...ids]);
    });
    this.#dockerd?.kill("SIGTERM");
    await this.#dockerd?.exited;
    await this.holdfastd.close();
  }
}
