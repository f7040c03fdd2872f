// Stands in for the daemon's events service: takes what shims forward, in order. Used by the direct shim driver.
import { rmSync } from "node:fs";
import { EventsDefinition } from "../../src/api/generated/forward.ts";
import type { Any } from "../../src/api/generated/google/protobuf/any.ts";
import * as taskEvents from "../../src/api/generated/task_events.ts";
import { listen, nodeClock } from "../../src/platform/node.ts";
import type { Listener } from "../../src/platform/platform.ts";
import { TtrpcServer } from "../../src/ttrpc/server.ts";
import { patience } from "./eventually.ts";

const CODECS: Record<string, { decode(bytes: Uint8Array): object }> = {
  "containerd.events.TaskCreate": taskEvents.TaskCreate,
  "containerd.events.TaskStart": taskEvents.TaskStart,
  "containerd.events.TaskDelete": taskEvents.TaskDelete,
  "containerd.events.TaskExit": taskEvents.TaskExit,
  "containerd.events.TaskOOM": taskEvents.TaskOOM,
  "containerd.events.TaskExecAdded": taskEvents.TaskExecAdded,
  "containerd.events.TaskExecStarted": taskEvents.TaskExecStarted,
  "containerd.events.TaskPaused": taskEvents.TaskPaused,
  "containerd.events.TaskResumed": taskEvents.TaskResumed,
  "containerd.events.TaskCheckpointed": taskEvents.TaskCheckpointed,
};

export interface ForwardedEvent {
  readonly topic: string;
  readonly namespace: string;
  readonly body: Readonly<Record<string, unknown>>;
}

function decodeEvent(event: Any | undefined): Record<string, unknown> {
  const codec = event === undefined ? undefined : CODECS[event.typeUrl];
  if (event === undefined || codec === undefined) throw new Error(`no codec for event ${event?.typeUrl}`);
  return codec.decode(event.value) as Record<string, unknown>;
}

export class EventsServer {
  readonly all: ForwardedEvent[] = [];
  /** What happens to an event before it is taken: throw to refuse it, never settle to leave it without an answer. */
  before: (topic: string) => void | Promise<void> = () => {};
  readonly #path: string;
  #server: TtrpcServer | undefined;
  #listener: Listener | undefined;
  #watchers = new Set<() => void>();

  private constructor(path: string) {
    this.#path = path;
  }

  static async listen(path: string): Promise<EventsServer> {
    const server = new EventsServer(path);
    await server.open();
    return server;
  }

  /** Serves; after close() it does so again, as a daemon that comes back. */
  async open(): Promise<void> {
    const server = new TtrpcServer(nodeClock);
    server.register(EventsDefinition, {
      forward: async ({ envelope }) => {
        await this.before(envelope?.topic ?? "");
        const body = decodeEvent(envelope?.event);
        this.all.push({ topic: envelope?.topic ?? "", namespace: envelope?.namespace ?? "", body });
        for (const watcher of [...this.#watchers]) watcher();
        return {};
      },
    });
    this.#server = server;
    this.#listener = await listen(this.#path, 0o600, (stream) => server.accept(stream));
  }

  /** Goes away, like a daemon that was killed. */
  async close(): Promise<void> {
    this.#listener?.close();
    this.#server?.close();
    rmSync(this.#path, { force: true });
  }

  /** One container's topics in order, without "/tasks/", with the exec's id where there is one. */
  order(containerId: string): string[] {
    return this.all
      .filter(({ body }) => body.containerId === containerId)
      .map(({ topic, body }) => {
        const execId =
          body.execId ?? (topic === "/tasks/exit" && body.id !== containerId ? body.id : undefined);
        return topic.replace("/tasks/", "") + (execId === undefined ? "" : ` ${String(execId)}`);
      });
  }

  /** Resolves when that container's event has come, or had. */
  arrived(
    topic: string,
    containerId: string,
    execId = "",
    timeoutMs: number = patience(60_000),
  ): Promise<ForwardedEvent> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        fail(
          new Error(
            `no ${topic} of ${containerId} within ${timeoutMs} ms: ${this.order(containerId).join(", ")}`,
          ),
        );
      }, timeoutMs);
      const fits = ({ topic: seen, body }: ForwardedEvent): boolean =>
        seen === topic &&
        body.containerId === containerId &&
        (execId === "" || body.execId === execId || body.id === execId);
      const look = (): void => {
        const event = this.all.find(fits);
        if (event === undefined) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        done(event);
      };
      this.#watchers.add(look);
      look();
    });
  }
}
