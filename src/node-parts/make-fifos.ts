// In place of src/cli/session/make-fifos.ts, which has to run a program.
import { changeMode, makeFifo } from "holdfast:host";

const OWNER_ONLY = 0o600;

/** For their owner alone. */
export async function makeFifos(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    makeFifo(path, OWNER_ONLY);
    // Whatever the umask is.
    changeMode(path, OWNER_ONLY);
  }
}
