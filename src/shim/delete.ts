// `delete`: cleans up after a shim that is dead or does not answer, and says how its container ended. Called by cmd/shim/main.ts.

import { DeleteResponse } from "../api/generated/task.ts";
import { timestampFromNs } from "../api/timestamp.ts";
import { removeCgroup } from "../cgroup/cgroup.ts";
import { errorText } from "../log/log.ts";
import { type Platform, SIGKILL } from "../platform/platform.ts";
import { Reaper } from "../reaper/reaper.ts";
import { readSpec } from "../runc/bundle.ts";
import { readBundleFile } from "../runc/bundle-file.ts";
import { defaultOptions, type RuntimeOptions } from "../runc/options.ts";
import { unmountRootfs } from "../runc/rootfs.ts";
import { Runc } from "../runc/runc.ts";
import { readGoShimFiles } from "../task/go-shim-files.ts";
import { type JournalEntry, readJournal, readReaped } from "../task/journal.ts";
import type { Arguments } from "./args.ts";
import { readCrash } from "./crash.ts";
import { removeIfDead } from "./socket.ts";

/** What containerd since 2.0 has kept of a shim's answer to `start`. */
const BOOTSTRAP = "bootstrap.json";

/**
 * Frees everything that the container holds and returns the encoded DeleteResponse. What cannot be read or freed is reported to `warn`, and
 * keeps nothing else from being freed.
 */
export async function deleteContainer(
  platform: Platform,
  args: Arguments,
  warn: (text: string) => void,
): Promise<Uint8Array> {
  const bundle = args.bundle || siblingBundle(platform.self.workingDirectory(), args.id);
  const attempt = async <T>(what: string, work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      warn(`${what}: ${errorText(error)}`);
      return undefined;
    }
  };
  const crash = await attempt("failed to read the shim's last error", () => readCrash(platform, bundle));
  if (crash) warn(`the shim had an internal error: ${crash}`);
  const otherFiles = (): Partial<JournalEntry["runtime"]> =>
    readGoShimFiles(platform, bundle, (error) =>
      warn(`failed to read the runtime's name: ${errorText(error)}`),
    );
  const journal = await attempt("failed to read the shim's journal", () => readJournal(platform, bundle));
  await attempt("failed to delete the container from its runtime", () =>
    deleteFromRuntime(platform, args, bundle, journal?.runtime ?? otherFiles()),
  );
  await attempt("failed to unmount the rootfs", () => unmountRootfs(platform, bundle));
  await attempt("failed to remove the socket", () => removeSocket(platform, bundle));
  const pid = journal?.pid ?? (await attempt("failed to read the pid", () => readInitPid(platform, bundle)));
  const exit =
    journal?.exit ??
    (await attempt("failed to read what the keeper has reaped", () =>
      readReaped(platform, journal?.home ?? bundle, pid ?? 0),
    ));
  // Without a recorded exit the container was alive until now: it died by the runtime's hand.
  const { status = 128 + SIGKILL, at = platform.clock.realtimeNs() } = exit ?? {};
  return DeleteResponse.encode({
    pid: pid ?? 0,
    exitStatus: status,
    exitedAt: timestampFromNs(at),
  }).finish();
}

function siblingBundle(workingDirectory: string, id: string): string {
  return `${workingDirectory.slice(0, workingDirectory.lastIndexOf("/"))}/${id}`;
}

async function deleteFromRuntime(
  platform: Platform,
  { id, namespace }: Arguments,
  bundle: string,
  runtime: Partial<JournalEntry["runtime"]>,
): Promise<void> {
  const options: RuntimeOptions = { ...defaultOptions, ...runtime };
  const runc = new Runc(platform, new Reaper(platform), { id, bundle, namespace }, options);
  if (runc.isKnown()) {
    const holder = await runc.knownBundle();
    if (holder !== undefined && !runc.isOurs(holder)) {
      throw new Error(`container ${id} is left alone: its bundle is ${holder}, another daemon's`);
    }
    await runc.delete(true);
  }
  await removeCgroup(platform, cgroupsPathIn(platform, bundle));
}

/** "" where there is no specification that can be read. */
function cgroupsPathIn(platform: Platform, bundle: string): string {
  try {
    return readSpec(platform, bundle).cgroupsPath;
  } catch {
    return "";
  }
}

/** The socket of a group's shim that lives on for other containers is left alone. */
async function removeSocket(platform: Platform, bundle: string): Promise<void> {
  const address = readAddress(platform, bundle);
  if (!address.startsWith("unix:///")) return;
  const path = address.slice("unix://".length);
  const kind = platform.files.stat(path)?.kind;
  if (kind === undefined) return;
  if (kind !== "socket") throw new Error(`${path}: is a ${kind}`);
  await removeIfDead(platform, path);
}

/**
 * Where the bundle's shim served: as the shim itself has said, or, with a shim of another make, containerd since 2.0 for it. Empty if nobody has: the later
 * members of a pod have no address of their own.
 */
function readAddress(platform: Platform, bundle: string): string {
  const own = readBundleFile(platform, bundle, "address")?.trim() ?? "";
  if (own !== "") return own;
  const text = readBundleFile(platform, bundle, BOOTSTRAP)?.trim() ?? "";
  if (text === "") return "";
  let bootstrap: unknown;
  try {
    bootstrap = JSON.parse(text);
  } catch (error) {
    throw new Error(`${bundle}/${BOOTSTRAP}: ${errorText(error)}`);
  }
  const { address } = { ...(typeof bootstrap === "object" ? bootstrap : {}) } as {
    readonly address?: unknown;
  };
  return typeof address === "string" ? address : "";
}

/** 0 if there is no such file: then there never was a process. */
function readInitPid(platform: Platform, bundle: string): number {
  const text = readBundleFile(platform, bundle, "init.pid");
  if (text === undefined) return 0;
  const pid = Number(text);
  if (!Number.isInteger(pid) || pid <= 0 || pid > 0x7fffffff)
    throw new Error(`${bundle}/init.pid: not a pid`);
  return pid;
}
