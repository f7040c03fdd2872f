// What systemd would hear: a real datagram socket, and the real systemd-notify.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type Output, Running, run } from "../harness/command.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-notify-"));
after(() => rmSync(directory, { recursive: true }));

const found = spawnSync("systemd-notify", ["--version"]).status === 0;
const skip: string | false = found ? false : "systemd-notify is not installed";

/** Prints the datagrams that have a state in it: systemd-notify sends a descriptor too, which it waits for us to close. */
const RECEIVER = `
  use Socket;
  $| = 1;
  socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die $!;
  bind($socket, pack_sockaddr_un($ARGV[0])) or die $!;
  print "bound\\n";
  while (defined(recv($socket, my $text, 4096, 0))) { print "<$text>\\n" if $text =~ /=1/; }
`;

function send(state: string, socket: string | undefined): Promise<Output> {
  const program = fileURLToPath(new URL("notify-sender.ts", import.meta.url));
  const env = { NOTIFY_SOCKET: socket ?? "" };
  return run([process.execPath, "--import", "tsx", program, state], { env, timeoutMs: 30_000 });
}

for (const state of ["READY=1", "STOPPING=1"]) {
  test(`${state} reaches systemd with our pid, and children do not inherit the socket`, {
    skip,
  }, async () => {
    const socket = join(directory, `${state}.sock`);
    const systemd = new Running(["perl", "-e", RECEIVER, socket], { timeoutMs: 60_000 });
    try {
      await systemd.printed(/bound/);
      const { status, stdout, stderr } = await send(state, socket);
      assert.equal(status, 0, stderr);
      const { pid, inherited } = JSON.parse(stdout);
      assert.equal(inherited, null);
      const [, datagram = ""] = await systemd.printed(/<([^>]*)>/);
      // Newer ones tell more of the process, in lines of their own, in any order.
      const lines = datagram.split("\n");
      for (const line of [state, `MAINPID=${pid}`]) assert.ok(lines.includes(line), datagram);
    } finally {
      systemd.kill("SIGKILL");
      await systemd.exited;
    }
  });
}

test("outside a notify service nothing is told", async () => {
  const { status, stderr } = await send("READY=1", undefined);
  assert.equal(stderr, "");
  assert.equal(status, 0);
});

test("a systemd that is not there is an error that says what was tried", { skip }, async () => {
  const { status, stderr } = await send("READY=1", join(directory, "nobody.sock"));
  assert.equal(status, 1);
  assert.match(stderr, /systemd-notify --pid=\d+ READY=1: exit status 1/);
});
