// Terminals: a container on a pty, its size from the start and as it changes, typed keys, hang-up, and the exit status.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { allPids, openFiles, processInfo } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { Terminal } from "../harness/terminal.ts";

const daemon = await Daemon.start();
after(() => daemon.close());

function runInTerminal(id: string, command: readonly string[], size = { rows: 33, columns: 101 }): Terminal {
  return Terminal.run(
    ["ctr", ...daemon.ctr.base, ...daemon.ctr.runArgs(id, command, ["--rm", "--tty"])],
    size,
  );
}

test("a container with a terminal has a tty on stdin, stdout and stderr, and what is typed reaches it", async () => {
  const terminal = runInTerminal("typed", ["sh"]);
  terminal.type("for n in 0 1 2; do [ -t $n ] && echo fd-$n-is-a-$((1))tty; done\r");
  for (const fd of [0, 1, 2]) await terminal.shows(new RegExp(`fd-${fd}-is-a-1tty`));
  terminal.type("exit 33\r");
  assert.equal((await terminal.exited).status, 33);
});

test("the terminal has the size of the user's when the container starts, and follows it", async () => {
  const until = (size: string): string => `until stty size 2>&1 | grep '${size}'; do sleep 0.02; done`;
  // Not the shell's own read, which hangs in newer versions of busybox when a signal was taken before.
  const script = `trap 'echo changed' WINCH; ${until("33 101")}; ${until("50 132")}; head -n 1; exit 4`;
  const terminal = runInTerminal("sized", ["sh", "-c", script]);
  await terminal.shows(/33 101/);
  await terminal.resize({ rows: 50, columns: 132 });
  await terminal.shows(/50 132/);
  await terminal.shows(/changed/);
  terminal.type("\r");
  assert.equal((await terminal.exited).status, 4);
});

test("ctrl-C on the terminal interrupts the program in the container, not the container", async () => {
  const terminal = runInTerminal("interrupt", ["sh"]);
  terminal.type("sleep 98765\r");
  // The shell hands the terminal over just before the program begins.
  await eventually("sleep to run", () =>
    allPids().some((pid) => processInfo(pid)?.commandLine === "sleep 98765"),
  );
  terminal.type("\x03");
  terminal.type("echo status-$?\r");
  await terminal.shows(/status-130/);
  terminal.type("exit\r");
  await terminal.exited;
});

test("all that a container wrote to its terminal is shown before it ends", async () => {
  await daemon.ctr.start("writer", ["sleep", "1000"]);
  const argv = [
    "ctr",
    ...daemon.ctr.base,
    ...daemon.ctr.execArgs("writer", "lines", ["seq", "1", "20000"], ["--tty"]),
  ];
  // The shell keeps the terminal until all is read: `script` drops what the kernel has yet to move when its program ends.
  const terminal = Terminal.run(["sh", "-c", `${argv.join(" ")}; echo status-$?; read key`], {
    rows: 24,
    columns: 80,
  });
  await terminal.shows(/status-\d+/);
  const lines = terminal.screen.replaceAll("\r", "").trimEnd().split("\n");
  const written = Array.from({ length: 20000 }, (_, n) => String(n + 1));
  assert.deepEqual(lines, [...written, "status-0"]);
  terminal.type("\r");
  await terminal.exited;
  await daemon.ctr.remove("writer");
});

test("an exec with a terminal gets its own, of the user's size", async () => {
  await daemon.ctr.start("host", ["sleep", "1000"]);
  const command = ["sh", "-c", "until stty size | grep '41 77'; do sleep 0.02; done; exit 12"];
  const argv = ["ctr", ...daemon.ctr.base, ...daemon.ctr.execArgs("host", "tty", command, ["--tty"])];
  const terminal = Terminal.run(argv, { rows: 41, columns: 77 });
  await terminal.shows(/41 77/);
  assert.equal((await terminal.exited).status, 12);
  await daemon.ctr.remove("host");
});

test("fifty execs with a terminal leave no descriptor open in the shim", {
  skip: failsOnGoShim("it closes the stdin fifos of ended execs only when its garbage collector finds them"),
}, async () => {
  await daemon.ctr.start("flat", ["sleep", "1000"]);
  const shim = await daemon.shimPid("flat");
  const execInTerminal = async (n: number): Promise<void> => {
    const argv = ["ctr", ...daemon.ctr.base, ...daemon.ctr.execArgs("flat", `tty-${n}`, ["true"], ["--tty"])];
    assert.equal((await Terminal.run(argv, { rows: 24, columns: 80 }).exited).status, 0);
  };
  await execInTerminal(0);
  await eventually(
    "the first exec's files to be closed",
    () => !openFiles(shim).some((path) => path.includes("tty-0")),
  );
  const before = openFiles(shim).length;
  for (let n = 1; n <= 50; n += 1) await execInTerminal(n);
  await eventually("as many open files as before", () => openFiles(shim).length <= before);
  await daemon.ctr.remove("flat");
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
