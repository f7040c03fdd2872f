// The two files in a bundle by which containerd's own shim finds the runtime when its `delete` cleans up: written beside our journal, and read where there
// is none, so that either binary can clean up what the other started (one is replaced by the other under running containers).
import { errorText } from "../log/log.ts";
import type { Platform } from "../platform/platform.ts";
import { readBundleFile } from "../runc/bundle-file.ts";
import { isWord, type JournalEntry } from "./journal.ts";

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

/**
 * What that shim has said of a container's runtime; what it has left out is left out, and so is what makes no sense. A file that cannot be read is
 * reported to `warn`, and keeps nothing else from being found.
 */
export function readGoShimFiles(
  platform: Platform,
  bundle: string,
  warn: (error: unknown) => void,
): Partial<Runtime> {
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      warn(error);
      return undefined;
    }
  };
  const options = attempt(() => readOptionsFile(platform, bundle)) ?? {};
  const { binary_name: name, root, systemd_cgroup: systemd } = options;
  const binary = attempt(() => readBundleFile(platform, bundle, PROGRAM)) || name;
  return {
    ...(isWord(binary) && { binary }),
    ...(isWord(root) && root.startsWith("/") && { root }),
    ...(typeof systemd === "boolean" && { systemdCgroup: systemd }),
  };
}

function readOptionsFile(platform: Platform, bundle: string): Readonly<Record<string, unknown>> | undefined {
  const text = readBundleFile(platform, bundle, OPTIONS);
  if (text === undefined || text === "") return undefined;
  let options: unknown;
  try {
    options = JSON.parse(text);
  } catch (error) {
    throw new Error(`${bundle}/${OPTIONS}: ${errorText(error)}`);
  }
  return typeof options === "object" && options !== null ? { ...options } : undefined;
}
