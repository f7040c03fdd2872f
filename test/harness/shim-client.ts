// Calls a shim's task service over its socket, as the daemon does. Used beside ctr for what ctr has no verb for, and by the direct shim tests.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  pack,
  RUNC_CHECKPOINT_OPTIONS,
  RUNC_OPTIONS,
  SPEC_LINUX_RESOURCES,
  SPEC_PROCESS,
} from "../../src/api/any.ts";
import type { ShimDump } from "../../src/api/dump.ts";
import { DebugDefinition } from "../../src/api/generated/debug.ts";
import type { Any } from "../../src/api/generated/google/protobuf/any.ts";
import type { Mount } from "../../src/api/generated/mount.ts";
import { CheckpointOptions, Options } from "../../src/api/generated/runc_options.ts";
import { TaskDefinition } from "../../src/api/generated/task.ts";
import { nodeClock, nodeNet } from "../../src/platform/node.ts";
import { TtrpcClient } from "../../src/ttrpc/client.ts";
import type { ServiceClient } from "../../src/ttrpc/definition.ts";
import { type Code, codeName, TtrpcError } from "../../src/ttrpc/status.ts";
import { createClient } from "../../src/ttrpc/typed-client.ts";
import { patience } from "./eventually.ts";

/** A bound for a hang: no call of a test takes longer unless it says so. */
const CALL_TIMEOUT_MS = patience(60_000);

export interface Stdio {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

export interface CreateOptions extends Stdio {
  readonly rootfs?: readonly Mount[];
  readonly options?: Partial<Options>;
  readonly checkpoint?: string;
  readonly parentCheckpoint?: string;
}

export interface ExecOptions extends Stdio {
  readonly user?: { readonly uid: number; readonly gid: number };
}

export function json(typeUrl: string, value: unknown): Any {
  return { typeUrl, value: new TextEncoder().encode(JSON.stringify(value)) };
}

export function runcOptions(options: Partial<Options>): Any {
  const none = Options.decode(new Uint8Array(0));
  return pack(RUNC_OPTIONS, Options, { ...none, ...options });
}

/** Every request of the task service with the fields a test cares about; "" as the exec id is the init. */
export class ShimClient {
  readonly connection: TtrpcClient;
  readonly task: ServiceClient<TaskDefinition>;

  constructor(connection: TtrpcClient, service?: string) {
    this.connection = connection;
    this.task = createClient(TaskDefinition, connection, service);
  }

  static async connect(socket: string, service?: string): Promise<ShimClient> {
    const stream = await nodeNet.connect(socket.replace(/^unix:\/\//, ""));
    return new ShimClient(new TtrpcClient(stream, nodeClock), service);
  }

  /** Connects to the shim of a bundle, by the address file that containerd reattaches by. */
  static ofBundle(bundle: string): Promise<ShimClient> {
    return ShimClient.connect(readFileSync(join(bundle, "address"), "utf8").trim());
  }

  readonly #limit = { timeoutMs: CALL_TIMEOUT_MS };

  async create(id: string, bundle: string, options: CreateOptions = {}): Promise<number> {
    const {
      stdin = "",
      stdout = "",
      stderr = "",
      terminal = false,
      checkpoint = "",
      parentCheckpoint = "",
    } = options;
    const request = {
      id,
      bundle,
      rootfs: [...(options.rootfs ?? [])],
      terminal,
      stdin,
      stdout,
      stderr,
      checkpoint,
    };
    const runtimeOptions = options.options === undefined ? undefined : runcOptions(options.options);
    const whole = { ...request, parentCheckpoint, options: runtimeOptions };
    return (await this.task.create(whole, this.#limit)).pid;
  }

  async start(id: string, execId = ""): Promise<number> {
    return (await this.task.start({ id, execId }, this.#limit)).pid;
  }

  async exec(id: string, execId: string, args: readonly string[], options: ExecOptions = {}): Promise<void> {
    const { stdin = "", stdout = "", stderr = "", terminal = false, user = { uid: 0, gid: 0 } } = options;
    const process = { args, cwd: "/", env: ["PATH=/bin"], terminal, user };
    const spec = json(SPEC_PROCESS, process);
    await this.task.exec({ id, execId, terminal, stdin, stdout, stderr, spec }, this.#limit);
  }

  state(id: string, execId = ""): ReturnType<typeof this.task.state> {
    return this.task.state({ id, execId }, this.#limit);
  }
  wait(id: string, execId = ""): ReturnType<typeof this.task.wait> {
    return this.task.wait({ id, execId }, this.#limit);
  }
  delete(id: string, execId = ""): ReturnType<typeof this.task.delete> {
    return this.task.delete({ id, execId }, this.#limit);
  }
  kill(id: string, signal: number, execId = "", all = false): ReturnType<typeof this.task.kill> {
    return this.task.kill({ id, execId, signal, all }, this.#limit);
  }
  pids(id: string): ReturnType<typeof this.task.pids> {
    return this.task.pids({ id }, this.#limit);
  }
  pause(id: string): ReturnType<typeof this.task.pause> {
    return this.task.pause({ id }, this.#limit);
  }
  resume(id: string): ReturnType<typeof this.task.resume> {
    return this.task.resume({ id }, this.#limit);
  }
  closeStdin(id: string, execId = ""): ReturnType<typeof this.task.closeIO> {
    return this.task.closeIO({ id, execId, stdin: true }, this.#limit);
  }
  resize(id: string, columns: number, rows: number, execId = ""): ReturnType<typeof this.task.resizePty> {
    return this.task.resizePty({ id, execId, width: columns, height: rows }, this.#limit);
  }
  update(id: string, resources: unknown): ReturnType<typeof this.task.update> {
    const request = { id, resources: json(SPEC_LINUX_RESOURCES, resources), annotations: {} };
    return this.task.update(request, this.#limit);
  }
  stats(id: string): ReturnType<typeof this.task.stats> {
    return this.task.stats({ id }, this.#limit);
  }
  connect(id: string): ReturnType<typeof this.task.connect> {
    return this.task.connect({ id }, this.#limit);
  }
  checkpoint(
    id: string,
    path: string,
    options?: Partial<CheckpointOptions>,
  ): ReturnType<typeof this.task.checkpoint> {
    const none = CheckpointOptions.decode(new Uint8Array(0));
    const packed = options && pack(RUNC_CHECKPOINT_OPTIONS, CheckpointOptions, { ...none, ...options });
    return this.task.checkpoint({ id, path, options: packed }, this.#limit);
  }
  shutdown(id: string, now = false): ReturnType<typeof this.task.shutdown> {
    return this.task.shutdown({ id, now }, this.#limit);
  }

  /** What the shim is doing, as `holdfast shim … dump` asks for it. */
  async dump(): Promise<ShimDump> {
    const { json: text } = await createClient(DebugDefinition, this.connection).dump({}, this.#limit);
    return JSON.parse(text) as ShimDump;
  }

  /** Has another program take the shim's place. */
  upgrade(program: string): Promise<{ version: string; pid: number }> {
    return createClient(DebugDefinition, this.connection).upgrade({ program }, this.#limit);
  }

  close(): void {
    this.connection.close();
  }
}

/** The error that a call must end with; rejects when it succeeds, or fails with another code. Returns the message. */
export async function refusal(code: Code, call: Promise<unknown>): Promise<string> {
  try {
    const answer = await call;
    throw new Error(`expected ${codeName(code)}, but the call succeeded: ${String(answer)}`);
  } catch (error) {
    if (error instanceof TtrpcError && error.code === code) return error.rawMessage;
    throw error;
  }
}
