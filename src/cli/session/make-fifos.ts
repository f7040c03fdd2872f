// Makes fifos, which Node has no call for.
import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** For their owner alone. */
export async function makeFifos(paths: readonly string[]): Promise<void> {
  await promisify(execFile)("mkfifo", ["-m", "600", ...paths]);
}
