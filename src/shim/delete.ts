// `delete`: cleans up after a shim that is dead or does not answer, and tells how its container ended. Called by cmd/shim/main.ts.

import { DeleteResponse } from "../api/generated/task.ts";
import { timestampFromNs } from "../api/timestamp.ts";
import { errorText } from "../log/log.ts";
import { type Platform, SIGKILL } from "../platform/platform.ts";
import { Reaper } from "../reaper/reaper.ts";
import { defaultOptions } from "../runc/options.ts";
import { unmountRootfs } from "../runc/rootfs.ts";
import { Runc, readPidFile } from "../runc/runc.ts";
import { readJournal } from "../task/journal.ts";
import type { Arguments } from "./args.ts";
import { readCrash } from "./crash.ts";
import { removeDead } from "./socket.ts";

/** Frees everything that the container holds and returns the encoded DeleteResponse. What cannot be freed is told to `warn`. */
export async function deleteContainer(
  platform: Platform,
  args: Arguments,
  warn: (text: string) => void,
): Promise<Uint8Array> {
  const bundle = args.bundle || siblingBundle(platform.self.workingDirectory(), args.id);
  const attempt = async (what: string, work: () => unknown): Promise<void> => {
    try {
      await work();
    } catch (error) {
      warn(`${what}: ${errorText(error)}`);
    }
  };
  const crash = readCrash(platform, bundle);
  if (crash !== "") warn(`the shim had an internal error: ${crash}`);
  const journal = readJournal(platform, bundle);
  await attempt("failed to delete the container from its runtime", () =>
    deleteFromRuntime(platform, args, bundle, journal),
  );
  await attempt("failed to unmount the rootfs", () => unmountRootfs(platform, bundle));
  await attempt("failed to remove the socket", () => removeSocket(platform, bundle));
  // Without a recorded exit the container was alive until now: it died by the runtime's hand.
  const exit = journal?.exit ?? { status: 128 + SIGKILL, at: platform.clock.realtimeNs() };
  const pid = journal?.pid || initPid(platform, bundle);
  return DeleteResponse.encode({ pid, exitStatus: exit.status, exitedAt: timestampFromNs(exit.at) }).finish();
}

function siblingBundle(workingDirectory: string, id: string): string {
  return `${workingDirectory.slice(0, workingDirectory.lastIndexOf("/"))}/${id}`;
}

async function deleteFromRuntime(
  platform: Platform,
  { id, namespace }: Arguments,
  bundle: string,
  journal: ReturnType<typeof readJournal>,
): Promise<void> {
  const options = { ...defaultOptions, ...journal?.runtime };
  if (platform.files.stat(`${options.root}/${namespace}/${id}`) === null) return;
  const own = Number(platform.files.read("/proc/self/oom_score_adj", 64));
  const runc = new Runc(platform, new Reaper(platform), { id, bundle, namespace }, options, own);
  const holder = await runc.knownBundle();
  if (holder !== undefined && !runc.isOurs(holder)) {
    throw new Error(`container ${id} is left alone: its bundle is ${holder}, another daemon's`);
  }
  await runc.delete(true);
}

/** The socket of a group's shim that lives on for other containers is left alone. */
function removeSocket(platform: Platform, bundle: string): void {
  const address = platform.files.read(`${bundle}/address`, 4096);
  if (address.startsWith("unix://")) {
    const path = address.slice("unix://".length);
    if (!platform.net.answers(path)) removeDead(platform, path);
  }
}

function initPid(platform: Platform, bundle: string): number {
  try {
    return readPidFile(platform, `${bundle}/init.pid`);
  } catch {
    return 0;
  }
}
