// Type URLs of what travels inside a google.protobuf.Any between containerd and shims, and packing and unpacking by them.

import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import type { Any } from "./generated/google/protobuf/any.ts";

export const RUNC_OPTIONS = "containerd.runc.v1.Options";
export const RUNC_CHECKPOINT_OPTIONS = "containerd.runc.v1.CheckpointOptions";
export const RUNC_PROCESS_DETAILS = "containerd.runc.v1.ProcessDetails";
export const RUNTIME_OPTIONS = "runtimeoptions.v1.Options";
export const METRICS_V1 = "io.containerd.cgroups.v1.Metrics";
export const METRICS_V2 = "io.containerd.cgroups.v2.Metrics";

// JSON, not protobuf.
export const SPEC_PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process";
export const SPEC_LINUX_RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
export const SPEC_FEATURES = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

export const TASK_CREATE = "containerd.events.TaskCreate";
export const TASK_START = "containerd.events.TaskStart";
export const TASK_DELETE = "containerd.events.TaskDelete";
export const TASK_EXIT = "containerd.events.TaskExit";
export const TASK_OOM = "containerd.events.TaskOOM";
export const TASK_EXEC_ADDED = "containerd.events.TaskExecAdded";
export const TASK_EXEC_STARTED = "containerd.events.TaskExecStarted";
export const TASK_PAUSED = "containerd.events.TaskPaused";
export const TASK_RESUMED = "containerd.events.TaskResumed";
export const TASK_CHECKPOINTED = "containerd.events.TaskCheckpointed";

const GOOGLE_PREFIX = "type.googleapis.com/";

/** A generated message: how its bytes are written and read. */
export interface Codec<T> {
  encode(message: T, writer?: BinaryWriter): BinaryWriter;
  decode(input: BinaryReader | Uint8Array, length?: number): T;
}

export function pack<T>(typeUrl: string, codec: Pick<Codec<T>, "encode">, message: T): Any {
  return { typeUrl, value: codec.encode(message).finish() };
}

/** A type URL as containerd writes them. */
export function bareTypeUrl(typeUrl: string): string {
  return typeUrl.startsWith(GOOGLE_PREFIX) ? typeUrl.slice(GOOGLE_PREFIX.length) : typeUrl;
}

/** Whether `any` holds the given type; containerd writes its type URLs bare, others put "type.googleapis.com/" before. */
export function holds(any: Any, typeUrl: string): boolean {
  return bareTypeUrl(any.typeUrl) === typeUrl;
}

/** The message inside, or undefined if it is of another type. Throws if its bytes are malformed. */
export function unpack<T>(any: Any, typeUrl: string, codec: Pick<Codec<T>, "decode">): T | undefined {
  return holds(any, typeUrl) ? codec.decode(any.value) : undefined;
}
