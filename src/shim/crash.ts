// The text of an internal error, kept where it survives the shim: in its bundle (containerd issue 4274). `delete` hands it to the daemon.
import { isSystemError, type Platform } from "../platform/platform.ts";

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

/** The recorded error; empty if there is none. */
export function readCrash(platform: Platform, bundle: string): string {
  try {
    return platform.files.read(`${bundle}/${FILE}`);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return "";
    throw error;
  }
}
