// A file that is gone with whoever has it open.
import type { Descriptors, Files } from "./platform.ts";

/** Opens a file at `path` for appending and for reading, and takes its name away. Throws a SystemError, with nothing left open. */
export function openUnnamed(
  { fds, files }: { readonly fds: Descriptors; readonly files: Files },
  path: string,
): [writeEnd: number, readEnd: number] {
  files.remove(path);
  const writeEnd = fds.openAppend(path);
  try {
    return [writeEnd, fds.openRead(path)];
  } catch (error) {
    fds.close(writeEnd);
    throw error;
  } finally {
    files.remove(path);
  }
}
