// The events that daemons tell: their types by URL, and reading one of any type.
import * as any from "./any.ts";
import { ContainerCreate, ContainerDelete, ContainerUpdate } from "./generated/container_events.ts";
import { ContentDelete } from "./generated/content_events.ts";
import type { Any } from "./generated/google/protobuf/any.ts";
import { ImageCreate, ImageDelete, ImageUpdate } from "./generated/image_events.ts";
import { NamespaceCreate, NamespaceDelete, NamespaceUpdate } from "./generated/namespace_events.ts";
import { SnapshotCommit, SnapshotPrepare, SnapshotRemove } from "./generated/snapshot_events.ts";
import * as task from "./generated/task_events.ts";

export const CONTAINER_CREATE = "containerd.events.ContainerCreate";
export const CONTAINER_UPDATE = "containerd.events.ContainerUpdate";
export const CONTAINER_DELETE = "containerd.events.ContainerDelete";
export const NAMESPACE_CREATE = "containerd.events.NamespaceCreate";
export const NAMESPACE_UPDATE = "containerd.events.NamespaceUpdate";
export const NAMESPACE_DELETE = "containerd.events.NamespaceDelete";
export const IMAGE_CREATE = "containerd.services.images.v1.ImageCreate";
export const IMAGE_UPDATE = "containerd.services.images.v1.ImageUpdate";
export const IMAGE_DELETE = "containerd.services.images.v1.ImageDelete";
export const CONTENT_DELETE = "containerd.events.ContentDelete";
export const SNAPSHOT_PREPARE = "containerd.events.SnapshotPrepare";
export const SNAPSHOT_COMMIT = "containerd.events.SnapshotCommit";
export const SNAPSHOT_REMOVE = "containerd.events.SnapshotRemove";

const DECODERS: Readonly<Record<string, { decode(bytes: Uint8Array): object }>> = {
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
  [CONTAINER_CREATE]: ContainerCreate,
  [CONTAINER_UPDATE]: ContainerUpdate,
  [CONTAINER_DELETE]: ContainerDelete,
  [NAMESPACE_CREATE]: NamespaceCreate,
  [NAMESPACE_UPDATE]: NamespaceUpdate,
  [NAMESPACE_DELETE]: NamespaceDelete,
  [IMAGE_CREATE]: ImageCreate,
  [IMAGE_UPDATE]: ImageUpdate,
  [IMAGE_DELETE]: ImageDelete,
  [CONTENT_DELETE]: ContentDelete,
  [SNAPSHOT_PREPARE]: SnapshotPrepare,
  [SNAPSHOT_COMMIT]: SnapshotCommit,
  [SNAPSHOT_REMOVE]: SnapshotRemove,
};

export type EventFields = Readonly<Record<string, unknown>>;

/** What an event says, by the names of its message's fields; undefined for a type that is not known, or bytes that are none of it. */
export function readEventFields(event: Any | undefined): EventFields | undefined {
  if (event === undefined) return undefined;
  try {
    const decoder = DECODERS[any.bareTypeUrl(event.typeUrl)];
    return decoder?.decode(event.value) as EventFields | undefined;
  } catch {
    return undefined;
  }
}

/** The container that an event is about; undefined for those about namespaces. */
export function containerOfEvent(topic: string, fields: EventFields | undefined): string | undefined {
  if (typeof fields?.containerId === "string") return fields.containerId;
  return topic.startsWith("/containers/") && typeof fields?.id === "string" ? fields.id : undefined;
}

/** The exec that an event is about; "" for the container itself. */
export function execOfEvent(topic: string, fields: EventFields | undefined): string {
  if (typeof fields?.execId === "string") return fields.execId;
  const { containerId, id } = fields ?? {};
  return topic === "/tasks/exit" && typeof id === "string" && id !== containerId ? id : "";
}
