// Tells systemd how we are (sd_notify). Node has no datagram sockets of the unix kind, so systemd's own program does it.
import { runProgram } from "./program.ts";

const TIMEOUT_MS = 5000;

/** Does nothing outside a service of Type=notify. Rejects if systemd-notify fails. */
export async function notifySystemd(state: "READY=1" | "STOPPING=1"): Promise<void> {
  if ((process.env.NOTIFY_SOCKET ?? "") === "") return;
  await runProgram(["systemd-notify", `--pid=${process.pid}`, state], { timeoutMs: TIMEOUT_MS });
}
