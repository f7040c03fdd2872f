// `holdfast version`: ours, and the daemon's if there is one.
import type { Command } from "commander";
import { VERSION } from "../../api/version.ts";
import { connectDaemon } from "../containers/connect.ts";
import { errorText } from "../text/problem.ts";
import { commonFlags, examples, settingsOf } from "./options.ts";

interface DaemonVersion {
  readonly address: string;
  readonly version: string | null;
  readonly revision: string | null;
  /** Why it does not tell. */
  readonly error: string | null;
}

export function addVersion(program: Command): void {
  const command = program.command("version").description("show the versions of holdfast and of the daemon");
  examples(commonFlags(command), ["holdfast version", "both; it is no failure if there is no daemon"]);
  command.action(() => versionVerb(command));
}

async function versionVerb(command: Command): Promise<void> {
  const { address, namespace, daemonTimeoutMs, screen } = settingsOf(command);
  const daemon = await askDaemon(address, namespace, daemonTimeoutMs);
  if (screen.json) {
    screen.document({ version: VERSION, daemon });
    return;
  }
  screen.fields([
    ["holdfast", VERSION],
    ["daemon", daemon.version === null ? `unknown: ${daemon.error}` : `${daemon.version} at ${address}`],
  ]);
}

async function askDaemon(address: string, namespace: string, timeoutMs: number): Promise<DaemonVersion> {
  try {
    const daemon = await connectDaemon(address, namespace, timeoutMs);
    try {
      const { version, revision } = await daemon.version.version({});
      return { address, version, revision, error: null };
    } finally {
      daemon.close();
    }
  } catch (error) {
    return { address, version: null, revision: null, error: errorText(error) };
  }
}
