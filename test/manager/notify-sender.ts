// Tells systemd one thing and prints what its children would inherit. A child of notify-datagram.test.ts.
import { notifySystemd } from "../../src/manager/notify.ts";

try {
  await notifySystemd(process.argv[2] === "STOPPING=1" ? "STOPPING=1" : "READY=1");
  process.stdout.write(JSON.stringify({ pid: process.pid, inherited: process.env.NOTIFY_SOCKET ?? null }));
} catch (error) {
  process.stderr.write(String(error));
  process.exitCode = 1;
}
