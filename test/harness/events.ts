// The daemon's events as `ctr events` prints them, kept in order. Daemon.events() makes the instance.
import type { Running } from "./command.ts";
import { patience } from "./eventually.ts";

export interface DaemonEvent {
  /** Such as "/tasks/exit". */
  readonly topic: string;
  readonly body: Readonly<Record<string, unknown>>;
}

function parseEvent(line: string): DaemonEvent | undefined {
  const match = line.match(/ (\/[a-z]+\/[a-z-]+) (\{.*\})$/);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { topic: match[1], body: JSON.parse(match[2]) as Record<string, unknown> };
}

export class EventLog {
  readonly all: DaemonEvent[] = [];
  readonly #source: Running;
  #watchers = new Set<() => void>();
  #partial = "";

  constructor(source: Running) {
    this.#source = source;
    source.stdout.on("data", (text: string) => this.#read(text));
  }

  #read(text: string): void {
    const lines = (this.#partial + text).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) {
      const event = parseEvent(line);
      if (event !== undefined) this.all.push(event);
    }
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** The events of one container, in order. */
  of(containerId: string): DaemonEvent[] {
    return this.all.filter((event) => event.body.container_id === containerId);
  }

  /** The order of one container's events in short: topics without "/tasks/", with the exec's id where it has one: "exec-started e1". */
  order(containerId: string): string[] {
    return this.of(containerId).map(({ topic, body }) => {
      const execId =
        body.exec_id ?? (topic === "/tasks/exit" && body.id !== containerId ? body.id : undefined);
      return topic.replace("/tasks/", "") + (execId === undefined ? "" : ` ${String(execId)}`);
    });
  }

  /** The first event, past or future, that fits; rejects after `timeoutMs`. */
  async first(
    what: string,
    fits: (event: DaemonEvent) => boolean,
    timeoutMs: number = patience(60_000),
  ): Promise<DaemonEvent> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        const seen = this.all.map((event) => `${event.topic} ${JSON.stringify(event.body)}`).slice(-30);
        fail(new Error(`no event "${what}" within ${timeoutMs} ms; seen last:\n${seen.join("\n")}`));
      }, timeoutMs);
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

  /** The exit event of a container's init, or of one of its execs. Its fields: pid, exit_status (left out when 0), exited_at. */
  exitOf(
    containerId: string,
    execId: string = containerId,
    timeoutMs: number = patience(60_000),
  ): Promise<DaemonEvent> {
    const fits = (event: DaemonEvent): boolean =>
      event.topic === "/tasks/exit" && event.body.container_id === containerId && event.body.id === execId;
    return this.first(`exit of ${containerId}/${execId}`, fits, timeoutMs);
  }

  execStarted(containerId: string, execId: string): Promise<DaemonEvent> {
    const fits = ({ topic, body }: DaemonEvent): boolean =>
      topic === "/tasks/exec-started" && body.container_id === containerId && body.exec_id === execId;
    return this.first(`start of ${containerId}/${execId}`, fits);
  }

  topicOf(topic: string, containerId: string, timeoutMs: number = patience(60_000)): Promise<DaemonEvent> {
    const fits = (event: DaemonEvent): boolean =>
      event.topic === topic && event.body.container_id === containerId;
    return this.first(`${topic} of ${containerId}`, fits, timeoutMs);
  }

  close(): void {
    this.#source.kill();
  }
}

/** The exit status an exit or delete event carries: 0 is not printed. */
export function exitStatusOf(event: DaemonEvent): number {
  return Number(event.body.exit_status ?? 0);
}
