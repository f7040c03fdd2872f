// What a checkpoint and a restore tell the runtime, and what of criu's own log is kept when one fails. The runtime does the work, by criu or by itself
// (gVisor).
import type { CheckpointOptions } from "../api/generated/runc_options.ts";
import { errorText } from "../log/log.ts";
import type { Platform } from "../platform/platform.ts";
import { RuntimeError } from "../runc/errors.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";

/** Where criu writes its log, below the bundle, unless the options name a place. */
const WORK_DIRECTORY = "criu-work";

/** One checkpoint or restore. */
export interface CriuRun {
  readonly kind: "checkpoint" | "restore";
  readonly flags: readonly string[];
  readonly workPath: string;
  /** Whether the work directory is ours, and goes afterwards. */
  readonly isWorkOurs: boolean;
}

/** Writes the container to the directory `path`; it goes on running unless `exit` is set. */
export function checkpointRun(bundle: string, path: string, options: CheckpointOptions): CriuRun {
  const { workPath, isWorkOurs } = workPlace(bundle, options.workPath);
  const flags = ["--image-path", path, "--work-path", workPath];
  if (options.openTcp) flags.push("--tcp-established");
  if (options.externalUnixSockets) flags.push("--ext-unix-sk");
  if (options.terminal) flags.push("--shell-job");
  if (options.fileLocks) flags.push("--file-locks");
  for (const namespace of options.emptyNamespaces) flags.push("--empty-ns", namespace);
  if (options.cgroupsMode !== "") flags.push("--manage-cgroups-mode", options.cgroupsMode);
  if (!options.exit) flags.push("--leave-running");
  return { kind: "checkpoint", flags, workPath, isWorkOurs };
}

/**
 * Makes the container from the directory `path`. Locks that were written come back, as those who hold them count on them. An image that builds on an
 * earlier one has a link to it: `parent` is for a runtime that wants to be told, which runc does not.
 */
export function restoreRun(bundle: string, path: string, parent: string, work: string): CriuRun {
  const { workPath, isWorkOurs } = workPlace(bundle, work);
  const flags = ["--image-path", path, "--work-path", workPath];
  if (parent !== "") flags.push("--parent-path", parent);
  return { kind: "restore", flags: [...flags, "--file-locks"], workPath, isWorkOurs };
}

function workPlace(bundle: string, asked: string): Pick<CriuRun, "workPath" | "isWorkOurs"> {
  return asked === ""
    ? { workPath: `${bundle}/${WORK_DIRECTORY}`, isWorkOurs: true }
    : { workPath: asked, isWorkOurs: false };
}

/**
 * Runs the runtime's command. When it fails, criu's log stays in the bundle, and the error names it; a criu that is not there is UNIMPLEMENTED.
 */
export async function runCriu(
  platform: Platform,
  bundle: string,
  run: CriuRun,
  command: () => Promise<void>,
): Promise<void> {
  // crun wants it to be there.
  platform.files.makeDirectories(run.workPath, 0o700);
  try {
    await command();
  } catch (error) {
    throw explainCriu(run.kind, error, keepLog(platform, bundle, run));
  } finally {
    if (run.isWorkOurs) removeWork(platform, run.workPath);
  }
}

/** Moves criu's log out of the work directory, over that of the last failure. Returns where it is now; undefined if there is none. */
function keepLog(
  { files }: Platform,
  bundle: string,
  { kind, workPath, isWorkOurs }: CriuRun,
): string | undefined {
  const name = kind === "checkpoint" ? "dump.log" : "restore.log";
  const log = `${workPath}/${name}`;
  if (files.stat(log)?.kind !== "file") return undefined;
  if (!isWorkOurs) return log;
  const kept = `${bundle}/criu-${name}`;
  files.rename(log, kept);
  return kept;
}

function explainCriu(kind: CriuRun["kind"], error: unknown, log: string | undefined): unknown {
  if (!(error instanceof RuntimeError)) return error;
  if (MISSING.some((words) => words.every((word) => error.reason.toLowerCase().includes(word)))) {
    return new TtrpcError(
      Code.UNIMPLEMENTED,
      `${kind} needs criu, which this host has not: install it (Debian 13 and newer: the package criu, and libcriu2 for crun) (${error.reason})`,
    );
  }
  if (log === undefined) return error;
  return new RuntimeError(error.argv, error.status, `${errorText(error)} path= ${log}`, error.hung);
}

/** What runc, or crun, which loads its library, says of a criu that is not there. */
const MISSING: readonly (readonly string[])[] = [
  ['"criu": executable file not found'],
  ["criu: no such file or directory"],
  ["could not load", "libcriu"],
  ["criu", "not supported"],
];

/** What criu leaves there is files alone. */
function removeWork({ files }: Platform, path: string): void {
  if (files.stat(path)?.kind !== "directory") return;
  try {
    for (const name of files.list(path)) files.remove(`${path}/${name}`);
    files.removeDirectory(path);
  } catch {
    // It goes with the bundle.
  }
}
