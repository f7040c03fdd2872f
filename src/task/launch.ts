// Has the runtime make a process, hooks its stdio up and claims it: the same for an init and an exec.
import type { ExecProcessRequest } from "../api/generated/task.ts";
import { type OutputPolicy, POLICY_ANNOTATION, parsePolicy } from "../api/output-policy.ts";
import { errorText } from "../log/log.ts";
import { type Platform, SIGKILL } from "../platform/platform.ts";
import { identify } from "../reaper/process-stat.ts";
import type { Child } from "../reaper/reaper.ts";
import { hostIds, type Ids, idsOf, type Spec } from "../runc/bundle.ts";
import { RuntimeError } from "../runc/errors.ts";
import { withMember } from "../runc/json-text.ts";
import type { RuntimeOptions } from "../runc/options.ts";
import { type ProcessSetup, readPidFile } from "../runc/runc.ts";
import { openStdio, resumeStdio } from "../stdio/open.ts";
import type { StdioRecord } from "../stdio/records.ts";
import type { PipeOwner, ProcessStdioConfig, Stdio, StdioContext } from "../stdio/stdio.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { ShimContext } from "./context.ts";
import type { Process } from "./process.ts";

/**
 * How long a runtime's command may go on when its caller has gone, in ms. One that is killed half-way leaves a cgroup or a half-made container
 * that nobody knows of; one that ends by itself can be undone. Only a command that hangs is killed.
 */
const CANCEL_GRACE = 3_000;

/** How the runtime is asked for a process. */
export interface Launch {
  readonly user: Ids;
  readonly pidFile: string;
  /** The word for it in an error. */
  readonly verb: "create" | "exec" | "restore";
  readonly command: (setup: ProcessSetup) => Promise<void>;
}

export class Launcher {
  readonly #context: ShimContext;
  readonly #stdio: Omit<StdioContext, "changed">;
  readonly #spec: Spec;
  readonly #options: RuntimeOptions;
  readonly #policy: OutputPolicy;

  /** Throws INVALID_ARGUMENT if an annotation of ours means nothing. */
  constructor(
    context: ShimContext,
    container: { id: string; bundle: string },
    spec: Spec,
    options: RuntimeOptions,
  ) {
    const { platform, reaper, log, namespace, oomScoreAdj, isAdoptable } = context;
    this.#context = context;
    this.#spec = spec;
    this.#options = options;
    this.#policy = policyOf(spec);
    this.#stdio = {
      platform,
      log,
      namespace,
      container: container.id,
      bundle: container.bundle,
      spawn: (request) => reaper.spawn({ ...request, oomScoreAdj }),
      adopt: (pid, pidfd) => reaper.adopt(pid, pidfd),
      isKept: context.keeper > 0,
      isAdoptable,
    };
  }

  /** Goes on with the stdio of a process that an earlier shim had launched. */
  resume(process: Process, stdio: StdioRecord, changed: () => void): Stdio {
    return resumeStdio({ ...this.#stdio, changed }, this.#configOf(process), stdio);
  }

  #configOf(process: Process): ProcessStdioConfig {
    const isInit = process.kind === "init";
    // Whoever runs a command wants all of its output, such as an archive, and reads it.
    return {
      ...process.config,
      mayBeAttachedLater: isInit,
      policy: isInit ? this.#policy : { kind: "block" },
    };
  }

  /** Has the runtime make a process of that user with its stdio, and claims it. On failure the stdio is closed again. `changed` is told of its stdio. */
  async launch(
    process: Process,
    { user, pidFile, verb, command }: Launch,
    caller: CancelSignal,
    changed: () => void,
  ): Promise<Child> {
    const { platform, reaper, isAdoptable } = this.#context;
    const stdio = openStdio({ ...this.#stdio, changed }, this.#configOf(process), this.#pipeOwner(user));
    process.attach(stdio);
    let release = (): void => {};
    let forget = (): void => {};
    let child: Child | undefined;
    try {
      await stdio.ready();
      release = reaper.hold();
      const made = command({
        pidFile,
        fds: stdio.childFds,
        ...(stdio.consoleSocket !== undefined && { consoleSocket: stdio.consoleSocket }),
        running(runtime) {
          forget = caller.onCancel(() => {
            const timer = platform.clock.after(CANCEL_GRACE, () => runtime.kill(SIGKILL));
            void runtime.exited.then(() => timer.cancel());
          });
        },
      });
      await explain(`OCI runtime ${verb} failed`, withWords(made, stdio));
      child = reaper.claim(readPidFile(platform, pidFile));
      await stdio.attached();
      process.became(child, isAdoptable ? identify(platform, child.pid, child.pidfd) : undefined);
      return child;
    } catch (error) {
      // It is there already, but can have no stdio: it must not run on where nobody knows of it.
      child?.kill(SIGKILL);
      stdio.close();
      throw error;
    } finally {
      forget();
      release();
    }
  }

  /** The process's user as the host knows it, through the user namespace's mappings; whom the options name goes first. */
  #pipeOwner(user: Ids): PipeOwner {
    const { uid, gid } = hostIds(this.#spec, user);
    const { ioUid, ioGid } = this.#options;
    return { uid: ioUid || uid, gid: ioGid || gid, isAskedFor: ioUid !== 0 || ioGid !== 0 };
  }
}

function policyOf({ annotations }: Spec): OutputPolicy {
  try {
    return parsePolicy(annotations[POLICY_ANNOTATION]);
  } catch (error) {
    throw new TtrpcError(Code.INVALID_ARGUMENT, `annotation ${POLICY_ANNOTATION}: ${errorText(error)}`);
  }
}

/** A runtime that has failed without a word in its log may have said why on the stderr that was to be the process's. */
async function withWords(made: Promise<void>, stdio: Stdio): Promise<void> {
  try {
    await made;
  } catch (error) {
    if (!(error instanceof RuntimeError) || error.reason !== "") throw error;
    const words = stdio.runtimeWords();
    throw words === "" ? error : new RuntimeError(error.argv, error.status, words);
  }
}

/** The exec's process as the runtime wants it: the request decides whether it has a terminal. Throws INVALID_ARGUMENT if it is not a JSON object. */
export function readProcessSpec({ text }: Platform, request: ExecProcessRequest): string {
  const json = text.decode(request.spec?.value ?? new Uint8Array(0));
  try {
    const spec: unknown = JSON.parse(json);
    if (typeof spec !== "object" || spec === null || Array.isArray(spec)) throw new Error("not an object");
    const { terminal } = spec as { terminal?: unknown };
    // Passed on as it is wherever it can be.
    return (terminal ?? false) === request.terminal
      ? json
      : withMember(json, "terminal", String(request.terminal));
  } catch (error) {
    const reason = `exec ${request.execId}: process specification: ${errorText(error)}`;
    throw new TtrpcError(Code.INVALID_ARGUMENT, reason);
  }
}

/**
 * The process with its terminal's size where that is known before it starts: the runtime sets it before the program can look, which nobody
 * who gets the terminal from the runtime can.
 */
export function withConsoleSize(spec: string, { config, size }: Process): string {
  if (!config.terminal || size === undefined) return spec;
  const [width, height] = size;
  return withMember(spec, "consoleSize", JSON.stringify({ height, width }));
}

/** The user that an exec is to run as. Throws if the request's process is not JSON. */
export function readProcessUser({ text }: Platform, request: ExecProcessRequest): Ids {
  return idsOf(JSON.parse(text.decode(request.spec?.value ?? new Uint8Array(0))));
}

/** Says what was attempted in front of what went wrong. */
export async function explain<T>(attempt: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const reason = `${attempt}: ${errorText(error)}`;
    throw error instanceof TtrpcError
      ? new TtrpcError(error.code, `${attempt}: ${error.rawMessage}`)
      : new Error(reason, { cause: error });
  }
}
