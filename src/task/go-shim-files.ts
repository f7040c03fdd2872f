// The two files in a bundle by which containerd's own shim finds the runtime when its `delete` cleans up: written beside our journal, and read where there
// is none, so that either binary can clean up what the other started (one is replaced by the other under running containers). Used by container.ts and
// src/shim/delete.ts.
import { isSystemError, type Platform } from "../platform/platform.ts";
import type { JournalEntry } from "./journal.ts";

type Runtime = JournalEntry["runtime"];

/** The runtime's program: that shim's `delete` does nothing without this file. */
const PROGRAM = "runtime";
/** containerd.runc.v1.Options in JSON. */
const OPTIONS = "options.json";

export function writeGoShimFiles(platform: Platform, bundle: string, runtime: Runtime): void {
  const { binary, root, systemdCgroup } = runtime;
  const options = { binary_name: binary, root, systemd_cgroup: systemdCgroup };
  platform.files.replace(`${bundle}/${PROGRAM}`, binary, 0o600);
  platform.files.replace(`${bundle}/${OPTIONS}`, JSON.stringify(options), 0o600);
}

/** What that shim has said of a container's runtime; what it has left out is left out. */
export function readGoShimFiles(platform: Platform, bundle: string): Partial<Runtime> {
  const text = readIfThere(platform, `${bundle}/${OPTIONS}`);
  const options: Readonly<Record<string, unknown>> = text === "" ? {} : JSON.parse(text);
  const { binary_name: name, root, systemd_cgroup: systemd } = options;
  const binary = readIfThere(platform, `${bundle}/${PROGRAM}`) || name;
  return {
    ...(typeof binary === "string" && binary !== "" && { binary }),
    ...(typeof root === "string" && root !== "" && { root }),
    ...(typeof systemd === "boolean" && { systemdCgroup: systemd }),
  };
}

function readIfThere(platform: Platform, path: string): string {
  try {
    return platform.files.read(path, 65_536);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return "";
    throw error;
  }
}
