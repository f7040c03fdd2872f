// The daemon's events as objects and as lines. Used by `events` and `timeline`.
import * as any from "../api/any.ts";
import { ContainerCreate, ContainerDelete, ContainerUpdate } from "../api/generated/container_events.ts";
import type { Envelope } from "../api/generated/events.ts";
import { NamespaceCreate, NamespaceDelete, NamespaceUpdate } from "../api/generated/namespace_events.ts";
import * as task from "../api/generated/task_events.ts";
import { nsFromTimestamp } from "../api/timestamp.ts";
import { exitText } from "./signals.ts";

type Decoder = { decode(bytes: Uint8Array): unknown };

const DECODERS: Readonly<Record<string, Decoder>> = {
  [any.TASK_CREATE]: task.TaskCreate,
  [any.TASK_START]: task.TaskStart,
  [any.TASK_DELETE]: task.TaskDelete,
  [any.TASK_EXIT]: task.TaskExit,
  [any.TASK_OOM]: task.TaskOOM,
  [any.TASK_EXEC_ADDED]: task.TaskExecAdded,
  [any.TASK_EXEC_STARTED]: task.TaskExecStarted,
  [any.TASK_PAUSED]: task.TaskPaused,
  [any.TASK_RESUMED]: task.TaskResumed,
  [any.TASK_CHECKPOINTED]: task.TaskCheckpointed,
  "containerd.events.ContainerCreate": ContainerCreate,
  "containerd.events.ContainerUpdate": ContainerUpdate,
  "containerd.events.ContainerDelete": ContainerDelete,
  "containerd.events.NamespaceCreate": NamespaceCreate,
  "containerd.events.NamespaceUpdate": NamespaceUpdate,
  "containerd.events.NamespaceDelete": NamespaceDelete,
};

export interface DaemonEvent {
  /** Nanoseconds since 1970. */
  readonly at: bigint;
  readonly namespace: string;
  readonly topic: string;
  readonly type: string;
  /** What it says; undefined for a type that we do not know. */
  readonly fields: Readonly<Record<string, unknown>> | undefined;
}

export function readEvent({ timestamp, namespace, topic, event }: Envelope): DaemonEvent {
  const type = (event?.typeUrl ?? "").replace(/^type\.googleapis\.com\//, "");
  const at = timestamp === undefined ? 0n : nsFromTimestamp(timestamp);
  return { at, namespace, topic, type, fields: event && decode(type, event.value) };
}

function decode(type: string, value: Uint8Array): Record<string, unknown> | undefined {
  try {
    return DECODERS[type]?.decode(value) as Record<string, unknown> | undefined;
  } catch {
    return undefined;
  }
}

/** The container that an event is about; undefined for namespaces. */
export function containerOf({ fields, topic }: DaemonEvent): string | undefined {
  if (typeof fields?.containerId === "string") return fields.containerId;
  return topic.startsWith("/containers/") && typeof fields?.id === "string" ? fields.id : undefined;
}

/** The exec that an event is about; undefined for the init. */
export function execOf(event: DaemonEvent): string | undefined {
  const { fields } = event;
  const id = fields?.execId ?? fields?.id;
  return typeof id === "string" && id !== "" && id !== containerOf(event) ? id : undefined;
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
