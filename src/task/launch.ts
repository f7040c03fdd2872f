// Has the runtime make a process, hooks its stdio up and claims it: the same for an init and an exec. Used by container.ts.
import type { ExecProcessRequest } from "../api/generated/task.ts";
import { errorText } from "../log/log.ts";
import { type Platform, SIGKILL } from "../platform/platform.ts";
import type { Child } from "../reaper/reaper.ts";
import { type ProcessSetup, readPidFile } from "../runc/runc.ts";
import { openStdio } from "../stdio/open.ts";
import type { PipeOwner } from "../stdio/stdio.ts";
import type { CancelSignal } from "../ttrpc/cancel.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import type { ShimContext } from "./context.ts";
import type { Process } from "./process.ts";

/**
 * How long a runtime's command may go on when its caller has gone, in ms. One that is killed half-way leaves a cgroup or a half-made container
 * that nobody knows of; one that ends by itself can be undone. Only a command that hangs is killed.
 */
const CANCEL_GRACE = 3_000;

export class Launcher {
  readonly #context: ShimContext;
  readonly #bundle: string;
  readonly #owner: PipeOwner;

  constructor(context: ShimContext, bundle: string, owner: PipeOwner) {
    this.#context = context;
    this.#bundle = bundle;
    this.#owner = owner;
  }

  /** Has the runtime make a process with its stdio, and claims it. On failure the stdio is closed again. */
  async launch(
    process: Process,
    pidFile: string,
    command: (setup: ProcessSetup) => Promise<void>,
    caller: CancelSignal,
  ): Promise<Child> {
    const { platform, reaper } = this.#context;
    const stdio = openStdio(platform, this.#bundle, process.config, this.#owner);
    process.attach(stdio);
    const release = reaper.hold();
    let forget = (): void => {};
    try {
      await command({
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
      const pid = readPidFile(platform, pidFile);
      await stdio.attached();
      const child = reaper.claim(pid);
      process.became(child);
      return child;
    } catch (error) {
      stdio.close();
      throw error;
    } finally {
      forget();
      release();
    }
  }
}

/** The exec's process as the runtime wants it: the request decides whether it has a terminal. Throws INVALID_ARGUMENT if it is not JSON. */
export function readProcessSpec({ text }: Platform, request: ExecProcessRequest): string {
  try {
    const spec = JSON.parse(text.decode(request.spec?.value ?? new Uint8Array(0)));
    return JSON.stringify({ ...spec, terminal: request.terminal });
  } catch (error) {
    const reason = `exec ${request.execId}: process specification: ${errorText(error)}`;
    throw new TtrpcError(Code.INVALID_ARGUMENT, reason);
  }
}

/** Says what was attempted in front of what went wrong. */
export async function explain<T>(attempt: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new Error(`${attempt}: ${errorText(error)}`, { cause: error });
  }
}
