// Names of a task's states, for tables and JSON.
import { Status } from "../../api/generated/process.ts";

const NAMES: Readonly<Record<number, string>> = {
  [Status.CREATED]: "created",
  [Status.RUNNING]: "running",
  [Status.STOPPED]: "stopped",
  [Status.PAUSED]: "paused",
  [Status.PAUSING]: "pausing",
};

export function statusName(status: number): string {
  return NAMES[status] ?? "unknown";
}
