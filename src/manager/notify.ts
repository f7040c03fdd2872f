// Tells systemd how we are (sd_notify(3)). Node has no datagram sockets of the unix kind, so systemd's own program does it.
import { childEnvironment } from "./child-environment.ts";
import { runProgram } from "./program.ts";

/** systemd-notify waits until systemd has read it. */
const TIMEOUT_MS = 5000;
/** systemd's socket; undefined outside a service of Type=notify. Only we are meant: shims, and what they run, must not have it in their environment. */
const socket: string | undefined = process.env.NOTIFY_SOCKET;
delete process.env.NOTIFY_SOCKET;

/** Does nothing outside a service of Type=notify. Rejects with a ProgramError if systemd-notify cannot tell it. */
export async function notifySystemd(state: "READY=1" | "STOPPING=1"): Promise<void> {
  if (socket === undefined || socket === "") return;
  await runProgram(["systemd-notify", `--pid=${process.pid}`, state], {
    env: childEnvironment({ NOTIFY_SOCKET: socket }),
    timeoutMs: TIMEOUT_MS,
  });
}
