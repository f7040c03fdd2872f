// What a kubelet does with a node: a private containerd with its CRI plugin, pods and containers on it by CRI calls. Used by the tests in this folder.
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Daemon, type DaemonOptions } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { IMAGE, importImage } from "../harness/image.ts";
import { parentOf } from "../harness/processes.ts";
import { CriClient, type Message } from "./client.ts";
import { type CriConfig, criConfig } from "./config.ts";

/** Where the CRI plugin keeps its containers. */
export const NAMESPACE = "k8s.io";

export interface ContainerStatus {
  readonly state: "CONTAINER_CREATED" | "CONTAINER_RUNNING" | "CONTAINER_EXITED" | "CONTAINER_UNKNOWN";
  readonly startedAt: number;
  readonly finishedAt: number;
  readonly exitCode: number;
  readonly reason: string;
  readonly message: string;
}

export interface ExecResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Pod {
  readonly id: string;
  readonly config: Message;
}

export interface ContainerOptions {
  /** Merged into the container's configuration. */
  readonly config?: Message;
  readonly resources?: Message;
  readonly security?: Message;
}

export interface PodOptions {
  readonly handler?: string;
  readonly namespaces?: Message;
  /** With systemd, a slice. */
  readonly cgroupParent?: string;
}

const ON_THE_NODE = { network: "NODE", pid: "CONTAINER", ipc: "POD" };

export class Kubelet {
  readonly daemon: Daemon;
  cri: CriClient;
  #made = 0;

  private constructor(daemon: Daemon) {
    this.daemon = daemon;
    this.cri = new CriClient(daemon.address);
  }

  /** Starts a containerd with this CRI configuration, and gives it an image, which is the pause image too. */
  static async start(config: CriConfig = {}, options: DaemonOptions = {}): Promise<Kubelet> {
    const daemon = await Daemon.start({
      ...options,
      cri: (directory) => [
        ...criConfig({ sandboxImage: IMAGE, ...config }, directory),
        ...(config.lines ?? []),
      ],
    });
    const kubelet = new Kubelet(daemon);
    mkdirSync(kubelet.logs);
    await importImage(daemon, NAMESPACE, ["sleep", "1000000"]);
    await kubelet.#serves();
    return kubelet;
  }

  async #serves(): Promise<void> {
    await eventually("the CRI plugin to serve", async () => {
      const status = await this.cri
        .call<{ status: { conditions: { type: string; status: boolean }[] } }>("Status")
        .catch(() => undefined);
      return status?.status.conditions.some((each) => each.type === "RuntimeReady" && each.status) === true;
    });
  }

  get logs(): string {
    return join(this.daemon.directory, "logs");
  }

  /** Starts containerd again, after it was killed. */
  async launch(): Promise<void> {
    await this.daemon.launch();
    this.cri.close();
    this.cri = new CriClient(this.daemon.address);
    await this.#serves();
  }

  /** A pod on the node's network, unless the options say otherwise. */
  async pod(name: string, options: PodOptions = {}): Promise<Pod> {
    this.#made += 1;
    const config = {
      metadata: { name, uid: `${name}-${this.#made}`, namespace: "default", attempt: 0 },
      hostname: (options.namespaces ?? ON_THE_NODE).network === "NODE" ? "" : name,
      logDirectory: this.logs,
      linux: {
        cgroupParent: options.cgroupParent ?? `/${this.daemon.namespace}`,
        securityContext: { namespaceOptions: options.namespaces ?? ON_THE_NODE },
      },
    };
    const request = { config, runtimeHandler: options.handler ?? "" };
    const { podSandboxId } = await this.cri.call<{ podSandboxId: string }>("RunPodSandbox", request);
    return { id: podSandboxId, config };
  }

  async create(
    pod: Pod,
    name: string,
    command: readonly string[],
    options: ContainerOptions = {},
  ): Promise<string> {
    const { linux } = pod.config as { linux: { securityContext: { namespaceOptions: Message } } };
    const securityContext = {
      namespaceOptions: linux.securityContext.namespaceOptions,
      ...options.security,
    };
    const config = {
      metadata: { name, attempt: 0 },
      image: { image: IMAGE },
      command,
      logPath: `${name}.log`,
      linux: { resources: options.resources ?? {}, securityContext },
      ...options.config,
    };
    const request = { podSandboxId: pod.id, config, sandboxConfig: pod.config };
    return (await this.cri.call<{ containerId: string }>("CreateContainer", request)).containerId;
  }

  async run(
    pod: Pod,
    name: string,
    command: readonly string[],
    options: ContainerOptions = {},
  ): Promise<string> {
    const id = await this.create(pod, name, command, options);
    await this.cri.call("StartContainer", { containerId: id });
    return id;
  }

  async exec(id: string, cmd: readonly string[], timeout = 0): Promise<ExecResult> {
    const request = { containerId: id, cmd, timeout };
    const answer = await this.cri.call<{ stdout: Uint8Array; stderr: Uint8Array; exitCode: number }>(
      "ExecSync",
      request,
    );
    const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
    return { status: answer.exitCode, stdout: text(answer.stdout), stderr: text(answer.stderr) };
  }

  async status(id: string): Promise<ContainerStatus> {
    return (
      await this.cri.call<{ status: ContainerStatus }>("ContainerStatus", { containerId: id, verbose: false })
    ).status;
  }

  /** The status of a container that has exited; waits for that. */
  async exited(id: string): Promise<ContainerStatus> {
    let status: ContainerStatus | undefined;
    await eventually("the container to exit", async () => {
      status = await this.status(id);
      return status.state === "CONTAINER_EXITED";
    });
    return status as ContainerStatus;
  }

  /** The pid of a container's or sandbox's first process. */
  async pidOf(id: string): Promise<number> {
    const rows = (await this.daemon.ctr.inNamespace(NAMESPACE).tasks()).filter((row) => row.id === id);
    return rows[0]?.pid ?? 0;
  }

  async shimPid(id: string): Promise<number> {
    return parentOf(await this.pidOf(id));
  }

  /** The messages of a container's log, without the time and stream that stand before each. */
  log(name: string): string[] {
    const lines = readFileSync(join(this.logs, `${name}.log`), "utf8").split("\n");
    return lines.filter((line) => line !== "").map((line) => line.split(" ").slice(3).join(" "));
  }

  stop(id: string, timeout = 0): Promise<unknown> {
    return this.cri.call("StopContainer", { containerId: id, timeout });
  }

  /** Stops and removes a pod with all that is in it. */
  async remove(pod: Pod): Promise<void> {
    await this.cri.call("StopPodSandbox", { podSandboxId: pod.id });
    await this.cri.call("RemovePodSandbox", { podSandboxId: pod.id });
  }

  async close(): Promise<void> {
    if (this.daemon.isRunning) {
      const { items } = await this.cri.call<{ items: { id: string }[] }>("ListPodSandbox");
      for (const { id } of items) await this.remove({ id, config: {} }).catch(() => {});
    }
    this.cri.close();
    await this.daemon.close();
  }
}
