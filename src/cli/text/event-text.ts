// The daemon's events as objects and as lines.
import * as any from "../../api/any.ts";
import { containerOfEvent, type EventFields, execOfEvent, readEventFields } from "../../api/event-types.ts";
import type { Envelope } from "../../api/generated/events.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import { exitText } from "./signals.ts";

export interface DaemonEvent {
  /** Nanoseconds since 1970. */
  readonly at: bigint;
  readonly namespace: string;
  readonly topic: string;
  readonly type: string;
  /** What it says; undefined for a type that we do not know. */
  readonly fields: EventFields | undefined;
}

export function readEvent({ timestamp, namespace, topic, event }: Envelope): DaemonEvent {
  const at = timestamp === undefined ? 0n : nsFromTimestamp(timestamp);
  return {
    at,
    namespace,
    topic,
    type: any.bareTypeUrl(event?.typeUrl ?? ""),
    fields: readEventFields(event),
  };
}

/** The container that an event is about; undefined for namespaces. */
export function containerOf({ fields, topic }: DaemonEvent): string | undefined {
  return containerOfEvent(topic, fields);
}

/** The exec that an event is about; undefined for the init. */
export function execOf({ fields, topic }: DaemonEvent): string | undefined {
  const id = execOfEvent(topic, fields);
  return id === "" ? undefined : id;
}

/** "pid 42, exit status 137 (SIGKILL)": what an event says beside whom it is about. */
export function eventDetail({ fields, type }: DaemonEvent): string {
  if (fields === undefined) return type;
  const { pid, exitStatus, name, image } = fields;
  const parts = [
    typeof name === "string" ? name : "",
    typeof image === "string" && image !== "" ? `image ${image}` : "",
    typeof pid === "number" && pid > 0 ? `pid ${pid}` : "",
    typeof exitStatus === "number" && /Exit$|Delete$/.test(type) ? `exit status ${exitText(exitStatus)}` : "",
  ];
  return parts.filter((part) => part !== "").join(", ");
}
