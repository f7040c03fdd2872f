// The text of an internal error, kept where it survives the shim: in its bundle (containerd issue 4274). `delete` hands it to the daemon.
import type { Platform } from "../platform/platform.ts";
import { readBundleFile } from "../runc/bundle-file.ts";

const FILE = "holdfast.crash";

/** Keeps the error with its stack; the last one wins. Never throws: it is the last resort. */
export function recordCrash(platform: Platform, bundle: string, error: unknown): void {
  const text =
    error instanceof Error ? `${error.name}: ${error.message}\n${error.stack ?? ""}` : String(error);
  try {
    platform.files.replace(`${bundle}/${FILE}`, text, 0o600);
  } catch {
    // There is no bundle any more, or no room: nothing is left to tell it to.
  }
}

/** The recorded error; empty if there is none. Throws an Error if there is something at its place that is no such file. */
export function readCrash(platform: Platform, bundle: string): string {
  return readBundleFile(platform, bundle, FILE) ?? "";
}
