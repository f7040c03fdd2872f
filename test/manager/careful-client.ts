// A client that wants one container's life to happen, whatever becomes of the daemon: after a crash it starts the daemon again, looks how far things
// are, and goes on. It also listens to events all the time. Used by crashes.test.ts.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SPEC_PROCESS } from "../../src/api/any.ts";
import { containerOfEvent, execOfEvent, readEventFields } from "../../src/api/event-types.ts";
import type { GetHistoryResponse } from "../../src/api/generated/history.ts";
import { Status } from "../../src/api/generated/process.ts";
import { DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { callCode } from "../../src/cli/text/problem.ts";
import { Code } from "../../src/ttrpc/status.ts";
import type { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { ociSpec } from "../harness/rootfs.ts";
import { runtimeName } from "../harness/runtime.ts";

const SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const CALL_TIMEOUT_MS = 30_000;
/** A daemon that has cut its connections and is there after this long has not died, in ms. */
const LIVES_MS = 5_000;
const NO_STDIO = { stdin: "", stdout: "", stderr: "", terminal: false };

export const INIT_STATUS = 23;
export const EXEC_STATUS = 7;

export class CarefulClient {
  readonly id: string;
  /** How often the daemon was found dead. */
  crashes = 0;
  /** "exit", "exit e1": what subscribers have got of the container, from all daemons together. */
  readonly heard: string[] = [];
  readonly #daemon: Daemon;
  #client: DaemonClient | undefined;

  constructor(daemon: Daemon) {
    this.#daemon = daemon;
    this.id = `life-${randomBytes(4).toString("hex")}`;
    daemon.ctr.ids.add(this.id);
  }

  /** From nothing to an ended task that has not been deleted. */
  async live(): Promise<void> {
    await this.begin();
    await this.#until("the exec to be over", (client) => this.#exec(client));
    const ended = this.#until("the task to end", (client) => this.#awaitEnd(client));
    await this.#daemon.touch(`go-${this.id}`);
    await ended;
  }

  /** From nothing to a task that runs. */
  async begin(): Promise<void> {
    await this.#connect();
    await this.#until("the container to be on record", (client) => this.#putOnRecord(client));
    await this.#until("the task to be created", (client) => this.#createTask(client));
    await this.#until("the task to be started", (client) => this.#startTask(client));
  }

  /** What the daemon remembers, once that tells of the end. */
  async history(): Promise<GetHistoryResponse> {
    return eventually("the end in the history", async () => {
      const history = await this.#try((client) => client.history.get({ containerId: this.id }));
      return history?.exit === undefined ? undefined : history;
    });
  }

  async deleteTask(): Promise<void> {
    await this.#until("the task to be deleted", async ({ tasks }) => {
      try {
        await tasks.delete({ containerId: this.id });
      } catch (error) {
        if (callCode(error) !== Code.NOT_FOUND) throw error;
      }
      return true;
    });
  }

  async deleteContainer(): Promise<void> {
    await this.#until("the record to be gone", async ({ containers }) => {
      try {
        await containers.delete({ id: this.id });
      } catch (error) {
        if (callCode(error) !== Code.NOT_FOUND) throw error;
      }
      return true;
    });
  }

  /** How often the container's program ran. */
  get runs(): number {
    return readFileSync(join(this.#daemon.rootfs, "tmp", `ran-${this.id}`), "utf8").length;
  }

  close(): void {
    this.#client?.close();
  }

  /** Does it until it holds. When the daemon dies of it, a new one is started, and it is tried again. */
  async #until(what: string, step: (client: DaemonClient) => Promise<boolean>): Promise<void> {
    await eventually(what, async () => (await this.#try(step)) === true);
  }

  /** undefined if the daemon died. */
  async #try<T>(step: (client: DaemonClient) => Promise<T>): Promise<T | undefined> {
    if (this.#client === undefined) throw new Error("not connected");
    try {
      return await step(this.#client);
    } catch (error) {
      if (callCode(error) !== Code.UNAVAILABLE) throw error;
      // It may be the answer of a shim that was about to leave: then the daemon lives, and the next try meets another shim.
      const hasDied = this.#daemon.exited.then(() => true);
      if (!(await Promise.race([hasDied, sleep(LIVES_MS, false)]))) return undefined;
      this.crashes += 1;
      this.#client.close();
      await this.#daemon.launch();
      await this.#connect();
      return undefined;
    }
  }

  async #connect(): Promise<void> {
    const { address, namespace } = this.#daemon;
    this.#client = await DaemonClient.connect(address, namespace, CALL_TIMEOUT_MS);
    void this.#listen(this.#client.events.subscribe({ filters: [`namespace==${namespace}`] }));
    // The answer to a later call says that the subscription has begun.
    await this.#client.version.version({});
  }

  async #listen(events: ReturnType<DaemonClient["events"]["subscribe"]>): Promise<void> {
    try {
      for await (const { topic, event } of events) {
        const fields = readEventFields(event);
        if (containerOfEvent(topic, fields) !== this.id || !topic.startsWith("/tasks/")) continue;
        this.heard.push(`${topic.slice("/tasks/".length)} ${execOfEvent(topic, fields)}`.trim());
      }
    } catch {
      // The daemon has died; the next one is subscribed to when it is there.
    }
  }

  async #putOnRecord({ containers }: DaemonClient): Promise<boolean> {
    const { id } = this;
    if ((await orNone(containers.get({ id }))) !== undefined) return true;
    const program = `echo -n x >>/tmp/ran-${id}; while [ ! -e /tmp/go-${id} ]; do sleep 0.01; done; exit ${INIT_STATUS}`;
    const cgroupsPath = `/${this.#daemon.namespace}/${id}`;
    const spec = ociSpec({ args: ["sh", "-c", program], rootfs: this.#daemon.rootfs, cgroupsPath });
    await containers.create({
      container: {
        id,
        labels: {},
        image: "",
        runtime: { name: runtimeName },
        spec: { typeUrl: SPEC, value: Buffer.from(JSON.stringify(spec)) },
        snapshotter: "",
        snapshotKey: "",
        extensions: {},
      },
    });
    return true;
  }

  async #createTask({ tasks }: DaemonClient): Promise<boolean> {
    const { id: containerId } = this;
    if ((await orNone(tasks.get({ containerId, execId: "" }))) !== undefined) return true;
    try {
      await tasks.create({ containerId, rootfs: [], ...NO_STDIO, runtimePath: "" });
    } catch (error) {
      // What was half made before a crash is still being cleaned up.
      if (callCode(error) !== Code.ALREADY_EXISTS) throw error;
      return false;
    }
    return true;
  }

  async #startTask({ tasks }: DaemonClient): Promise<boolean> {
    const { process } = await tasks.get({ containerId: this.id, execId: "" });
    if (process?.status === Status.CREATED) await tasks.start({ containerId: this.id, execId: "" });
    return true;
  }

  async #exec({ tasks }: DaemonClient): Promise<boolean> {
    const process = { containerId: this.id, execId: "e1" };
    const state = await orNone(tasks.get(process));
    // It may have been deleted by a call whose answer got lost.
    if (state === undefined && this.heard.includes("exit e1")) return true;
    if (state === undefined) {
      const value = Buffer.from(
        JSON.stringify({
          args: ["sh", "-c", `exit ${EXEC_STATUS}`],
          cwd: "/",
          env: ["PATH=/bin"],
          user: { uid: 0, gid: 0 },
        }),
      );
      await tasks.exec({ ...process, ...NO_STDIO, spec: { typeUrl: SPEC_PROCESS, value } });
    }
    if ((state?.process?.status ?? Status.CREATED) === Status.CREATED) await tasks.start(process);
    const { exitStatus } = await tasks.wait(process);
    if (exitStatus !== EXEC_STATUS) throw new Error(`the exec ended with ${exitStatus}`);
    await tasks.deleteProcess(process);
    return true;
  }

  async #awaitEnd({ tasks }: DaemonClient): Promise<boolean> {
    const { exitStatus } = await tasks.wait({ containerId: this.id, execId: "" });
    if (exitStatus !== INIT_STATUS) throw new Error(`the container ended with ${exitStatus}`);
    return true;
  }
}

async function orNone<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (callCode(error) === Code.NOT_FOUND) return undefined;
    throw error;
  }
}
