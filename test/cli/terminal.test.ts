// holdfast on a real terminal: raw while a container has it, and as before afterwards, however it ends.
import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { allPids, processInfo } from "../harness/processes.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

const DETACH = "\x10\x11";

function run(name: string, ...rest: string[]): string[] {
  daemon.ctr.ids.add(name);
  return ["run", "-it", "--name", name, "--rootfs", daemon.rootfs, ...rest];
}

/** The pid of the holdfast that runs with these arguments on its command line. */
function cliPid(mark: string): Promise<number> {
  return eventually("holdfast", () =>
    allPids().find((pid) => {
      const info = processInfo(pid);
      return (
        info?.executable === "node" &&
        info.commandLine.startsWith("holdfast ") &&
        info.commandLine.includes(mark)
      );
    }),
  );
}

test("a shell on a terminal: typed lines, its size, a new size, ctrl-c and the exit status", async () => {
  const terminal = cli.terminal(run("shell", "--rm", "sh"), { rows: 33, columns: 101 });
  await terminal.shows(/# /);
  terminal.type("echo a$((1+1))b; stty size\r");
  await terminal.shows(/a2b\r\n/);
  await terminal.shows(/33 101/);
  await terminal.resize({ rows: 40, columns: 120 });
  terminal.type('until [ "$(stty size)" = "40 120" ]; do sleep 0.05; done; echo re$((1))sized\r');
  await terminal.shows(/re1sized/);
  // Ready is told by what the interrupt shall end: busybox's shell loses one that comes while it starts a command.
  terminal.type("sh -c 'echo rea$((1))dy; exec sleep 1000'; echo aft$((1))er\r");
  await terminal.shows(/rea1dy/);
  terminal.type("\x03");
  await terminal.shows(/\^C/);
  terminal.type("exit 21\r");
  const { status, stdout } = await terminal.exited;
  assert.equal(status, 21);
  assert.doesNotMatch(stdout, /aft1er/);
});

test("the detach keys leave it running, other control keys do not, and attach comes back", async () => {
  const terminal = cli.terminal(run("leave", "sh"));
  await terminal.shows(/# /);
  // The first key alone belongs to the container once another one follows.
  terminal.type("\x10echo still$((1+1))\r");
  await terminal.shows(/still2/);
  terminal.type(DETACH);
  const left = await terminal.exited;
  assert.equal(left.status, 0);
  assert.match(left.stdout, /leave goes on/);
  assert.equal((await daemon.ctr.task("leave")).status, "RUNNING");
  const back = cli.terminal(["attach", "leave"]);
  await eventually("the shell", async () => {
    back.type("echo here$((2+2))\r");
    return /here4/.test(back.screen);
  });
  back.type("exit 5\r");
  assert.equal((await back.exited).status, 5);
  await cli.do(["delete", "leave"]);
});

test("a program that draws: vi writes a file, and who attaches later sees what it shows", async () => {
  const first = cli.terminal(run("draw", "vi", "/tmp/drawn"), { rows: 20, columns: 70 });
  await first.shows(/~/);
  first.type("ihello");
  await first.shows(/hello/);
  first.type(DETACH);
  assert.equal((await first.exited).status, 0);
  const second = cli.terminal(["attach", "draw"], { rows: 20, columns: 70 });
  // It is drawn for one row more at first, so that it is drawn at all; vi may lose a key while it draws.
  await second.shows(/hello[\s\S]*\[20;1H.\[K/);
  // What follows an escape at once would be the rest of a key.
  second.type("\x1b");
  await second.shows(/- \/tmp\/drawn/);
  second.type(":wq\r");
  assert.equal((await second.exited).status, 0);
  assert.equal(daemon.rootfsSize("tmp/drawn"), "hello\n".length);
  await cli.do(["delete", "draw"]);
});

test("keys typed as soon as the prompt shows are the container's, or detach", async () => {
  const terminal = cli.terminal(run("quick", "sh"));
  await terminal.shows(/# /);
  terminal.type(DETACH);
  assert.equal((await terminal.exited).status, 0);
  await cli.do(["delete", "-f", "quick"]);
});

test("a session goes on while the daemon is away, and its end too", async () => {
  const terminal = cli.shellTerminal(between(`$H ${run("alone", "--rm", "sh").join(" ")}`));
  await terminal.shows(/# /);
  await daemon.kill();
  try {
    terminal.type("echo still$((1+1)); exit 14\r");
    await terminal.shows(/still2/);
    await terminal.shows(/the daemon is away; alone is deleted when it is back/);
  } finally {
    await daemon.launch();
  }
  await terminal.shows(/status=14/);
  assertRestored((await terminal.exited).stdout);
});

test("exec -it is on a terminal of its own", async () => {
  await cli.do([
    ...run("base", "sleep", "1000")
      .filter((word) => word !== "-it")
      .toSpliced(1, 0, "-d"),
  ]);
  const terminal = cli.terminal(["exec", "-it", "--detach-keys", "ctrl-]", "base", "sh"]);
  await terminal.shows(/# /);
  terminal.type("tty; exit 17\r");
  await terminal.shows(/\/dev\/pts\/\d/);
  assert.equal((await terminal.exited).status, 17);
  const left = cli.terminal(["exec", "-it", "--exec-id", "left", "base", "sh"]);
  await left.shows(/# /);
  left.type(DETACH);
  assert.match((await left.exited).stdout, /left goes on/);
  const state = (await cli.json(["shim", "base", "state", "--exec-id", "left"])) as { status: string };
  assert.equal(state.status, "running");
  await cli.do(["delete", "-f", "base"]);
});

/** A terminal whose settings are shown before and after `line` runs on it. */
function between(line: string): string {
  return `echo "before=$(stty -g)"; ${line}; echo "status=$?"; echo "after=$(stty -g)"`;
}

function assertRestored(screen: string): void {
  const [, before] = screen.match(/before=(\S+)/) ?? [];
  const [, later] = screen.match(/after=(\S+)/) ?? [];
  assert.ok(before !== undefined && before !== "");
  assert.equal(later, before);
}

async function rawMode(pid: number): Promise<void> {
  await eventually("raw mode", async () => {
    const { check } = await import("../harness/command.ts");
    const settings = await check(["stty", "-a", "-F", `/proc/${pid}/fd/0`]);
    return / -icanon/.test(settings) && / -echo /.test(settings);
  });
}

const line = (name: string): string => `$H ${run(name, "--rm", "sleep", "1000").join(" ")}`;

test("the terminal is as it was after the container's end", async () => {
  const terminal = cli.shellTerminal(between(line("end")));
  await rawMode(await cliPid("end"));
  await eventually("the container", async () => (await cli.run(["kill", "-s", "KILL", "end"])).status === 0);
  await terminal.shows(/after=\S+/);
  assert.match(terminal.screen, /status=137/);
  assertRestored((await terminal.exited).stdout);
});

for (const signal of ["SIGKILL", "SIGHUP"] as const) {
  test(`the terminal is as it was after ${signal} to holdfast, and the container goes on`, async () => {
    const name = `by-${signal.toLowerCase()}`;
    // The shell waits a little for what restores it after a SIGKILL.
    const wait = `before=$(stty -g); ${line(name)}; i=0; while [ $((i+=1)) -lt 100 ] && [ "$(stty -g)" != "$before" ]; do sleep 0.05; done`;
    const terminal = cli.shellTerminal(`echo before=$(stty -g); ${wait}; echo after=$(stty -g)`);
    const pid = await cliPid(name);
    await rawMode(pid);
    const runs = async (): Promise<boolean> =>
      (await daemon.ctr.tasks()).some(({ id, status }) => id === name && status === "RUNNING");
    await eventually("the container to run", runs);
    process.kill(pid, signal);
    await terminal.shows(/after=\S+/);
    assertRestored((await terminal.exited).stdout);
    assert.ok(await runs());
    await cli.do(["delete", "-f", name]);
  });
}

test("SIGTERM to holdfast on a terminal ends the container's process, and the terminal is as it was", async () => {
  daemon.ctr.ids.add("term");
  const terminal = cli.shellTerminal(
    between(`$H run -it --rm --name term --rootfs ${daemon.rootfs} until-signal trapped TERM=12`),
  );
  const pid = await cliPid("--name term");
  await rawMode(pid);
  await terminal.shows(/trapped/);
  process.kill(pid, "SIGTERM");
  await terminal.shows(/after=\S+/);
  assert.match(terminal.screen, /status=12/);
  assertRestored((await terminal.exited).stdout);
});

test("top is live, and q gives the screen back", async () => {
  daemon.ctr.ids.add("busy");
  const command = ["sh", "-c", "while :; do :; done"];
  await cli.do(["run", "-d", "--name", "busy", "--cpus", "0.3", "--rootfs", daemon.rootfs, "--", ...command]);
  const terminal = cli.shellTerminal(between("$H top --interval 100ms"));
  await terminal.shows(/holdfast top/);
  await terminal.shows(/busy +[1-9]\d*\.\d% .*[▁▂▃▄▅▆▇█]/);
  terminal.type("q");
  await terminal.shows(/after=\S+/);
  const { stdout } = await terminal.exited;
  assert.match(stdout, /status=0/);
  assertRestored(stdout);
  // The other screen was left, with the cursor shown.
  assert.ok(stdout.includes("\x1b[?7h\x1b[?25h\x1b[?1049l"));
  await cli.do(["delete", "-f", "busy"]);
});

test("top shows as many as there is room for, says how many more there are, and scrolls", async () => {
  const names = Array.from({ length: 12 }, (_, index) => `row-${String.fromCharCode(97 + index)}`);
  for (const name of names) daemon.ctr.ids.add(name);
  await Promise.all(
    names.map((name) =>
      cli.do(["run", "-d", "--name", name, "--rootfs", daemon.rootfs, "--", "sleep", "1000"]),
    ),
  );
  const terminal = cli.terminal(["top", "--interval", "200ms"], { rows: 12, columns: 120 });
  const [more] = await terminal.shows(/(\d+) below: arrow and page keys/);
  assert.equal(more, "5 below: arrow and page keys");
  const seen = (): string[] => names.filter((name) => terminal.screen.includes(name));
  assert.ok(seen().length < names.length);
  terminal.type("G");
  await terminal.shows(/5 above: arrow and page keys/);
  await eventually("all of them", () => seen().length === names.length);
  terminal.type("\x1b[A");
  await terminal.shows(/4 above, 1 below/);
  terminal.type("q");
  assert.equal((await terminal.exited).status, 0);
  await cli.do(["delete", "-f", ...names]);
});

test("a terminal that does not know its size, such as a serial one, is one of usual size", async () => {
  daemon.ctr.ids.add("unsized");
  const command = ["sh", "-c", "exec sleep 1000 # as long as fits"];
  await cli.do(["run", "-d", "--name", "unsized", "--rootfs", daemon.rootfs, "--", ...command]);
  const size = { rows: 0, columns: 0 };
  const list = cli.terminal(["ps"], size);
  assert.equal((await list.exited).status, 0);
  assert.match(list.screen, /exec sleep 1000 # as long as fits/);
  const top = cli.terminal(["top", "--interval", "200ms"], size);
  await top.shows(/unsized/);
  top.type("q");
  assert.equal((await top.exited).status, 0);
  await cli.do(["delete", "-f", "unsized"]);
});

test("top without a terminal says what to use instead", async () => {
  const output = await cli.run(["top"]);
  assert.equal(output.status, 1);
  assert.match(output.stderr, /needs a terminal; "holdfast stats"/);
});

test("nothing is left of all that", async () => {
  assert.equal(await daemon.leftovers(), "");
});
