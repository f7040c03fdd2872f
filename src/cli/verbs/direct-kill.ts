// What `kill --direct` and `shim <id> kill --direct` have in common.
import { killDirectly } from "../shims/direct-kill.ts";
import { sleepsIn } from "../shims/proc.ts";
import { Problem, USAGE } from "../text/problem.ts";
import { signalNumber } from "../text/signals.ts";

/** Without a signal of its own it ends everything. Throws a Problem if something is left. */
export async function directKill(
  namespace: string,
  id: string,
  {
    signal,
    all,
    execId = "",
  }: { readonly signal?: string; readonly all?: boolean; readonly execId?: string },
  timeoutMs: number,
): Promise<void> {
  if (execId !== "")
    throw new Problem(
      "--direct is for a whole container: which process an exec is, only its shim knows",
      USAGE,
    );
  const number = signalNumber(signal ?? "SIGKILL");
  const { left } = await killDirectly(namespace, id, {
    signal: number,
    all: all ?? signal === undefined,
    timeoutMs,
  });
  if (left.length === 0) return;
  const where = left.map((pid) => `${pid} (${sleepsIn(pid) ?? "?"})`).join(", ");
  throw new Problem(`killed, and not gone: the kernel holds ${where}`);
}
