// npm run demo: the main job, step by step, on this machine: containers under holdfastd, through our shims, across a crash of the daemon and one of a shim. No containerd
// is needed. Everything lives in a temporary directory and goes away at the end, also on Ctrl-C.
import { join } from "node:path";
import { check, type Output, run } from "../test/harness/command.ts";
import { Daemon } from "../test/harness/daemon.ts";
import { eventually } from "../test/harness/eventually.ts";
import { isRunning, processInfo } from "../test/harness/processes.ts";

const HOLDFAST = join(import.meta.dirname, "../dist/holdfast");

const colours = process.stdout.isTTY === true;
const paint = (code: number, text: string): string => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);

let steps = 0;
function step(text: string): void {
  steps++;
  console.log(`\n${paint(1, `${steps}. ${text}`)}`);
}

function demand(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
  console.log(`   ${paint(32, "✓")} ${what}`);
}

/** A word as a user would type it. */
const quoted = (word: string): string =>
  /^[\w./:=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/** The CLI, as a user types it. What it says is shown, set apart from what we say. */
class Cli {
  readonly #env: Record<string, string>;

  constructor(daemon: Daemon) {
    this.#env = {
      HOLDFAST_ADDRESS: daemon.address,
      HOLDFAST_NAMESPACE: daemon.namespace,
      HOLDFAST_LOGS: join(daemon.directory, "logs"),
    };
  }

  async run(...args: string[]): Promise<Output> {
    console.log(`   ${paint(2, `$ holdfast ${args.map(quoted).join(" ")}`)}`);
    const output = await run([HOLDFAST, ...args], { env: this.#env });
    const said = `${output.stdout}${output.stderr}`.trimEnd();
    if (said !== "") for (const line of said.split("\n")) console.log(`   ${paint(36, line)}`);
    return output;
  }

  /** Rejects unless it succeeds. */
  async do(...args: string[]): Promise<string> {
    const { status, stdout } = await this.run(...args);
    if (status !== 0) throw new Error(`holdfast ${args[0]}: exit status ${status}`);
    return stdout;
  }
}

/** A program of ours (test/harness/until-signal.c): it ends with 42 when it gets a SIGTERM. */
const untilTold = ["until-signal", "TERM=42"];
const untilFile = ["sh", "-c", "while [ ! -e /tmp/go ]; do sleep 0.1; done; echo done; exit 7"];

async function showImages(daemon: Daemon, cli: Cli): Promise<void> {
  step("An image is made of a root file system, changed in a container, and run");
  const archive = join(daemon.directory, "rootfs.tar");
  await check(["tar", "-C", daemon.rootfs, "-cf", archive, "."]);
  await cli.do("import", "-c", "ENV PATH=/bin", "-c", 'CMD ["cat","/greeting"]', archive, "greeter:1");
  await cli.do(
    "run",
    "--name",
    "set-up",
    "greeter:1",
    "sh",
    "-c",
    "echo Hello from a layer of its own >/greeting",
  );
  await cli.do("diff", "set-up");
  await cli.do("commit", "set-up", "greeter:2");
  const greeting = await cli.do("run", "--rm", "greeter:2");
  demand(greeting === "Hello from a layer of its own\n", "what the container has written is in the image");
  await cli.do("images");
  await cli.do("delete", "set-up");
  await cli.do("rmi", "greeter:1", "greeter:2");
}

async function show(daemon: Daemon): Promise<void> {
  const cli = new Cli(daemon);
  const { rootfs } = daemon;
  for (const id of ["demo", "short", "set-up"]) daemon.ctr.ids.add(id); // for the look at what is left

  step(`holdfastd (process ${daemon.pid}) runs in ${daemon.directory}; there is no containerd in this`);
  const hello = await cli.run(
    "run",
    "--rm",
    "--rootfs",
    rootfs,
    "sh",
    "-c",
    "echo Hello from the container; exit 3",
  );
  demand(hello.status === 3, "the exit status of the container is that of the command");

  await showImages(daemon, cli);

  step("Two containers in the background, each under a small shim of its own");
  await cli.do("run", "-d", "--name", "demo", "--memory", "64m", "--rootfs", rootfs, ...untilTold);
  await cli.do("run", "-d", "--name", "short", "--rootfs", rootfs, ...untilFile);
  await cli.do("ps");
  await cli.do("exec", "demo", "ps");
  await cli.do("shims", "-n", daemon.namespace);
  const shim = await daemon.shimPid("demo");

  step("holdfastd is killed with SIGKILL; meanwhile one container ends, and shims answer without a daemon");
  await daemon.kill();
  const short = daemon.initPid("short");
  await daemon.touch("go");
  await eventually("it to end", () => !isRunning(short));
  await cli.do("shim", "demo", "state");

  step("holdfastd is started again");
  await daemon.launch();
  await cli.do("ps", "-a");
  demand(
    (await cli.do("wait", "short")) === "7\n",
    "it knows how the container ended that nobody was there to see",
  );
  demand(
    processInfo(shim) !== undefined && (await daemon.shimPid("demo")) === shim,
    `the other one is under the same shim, process ${shim}`,
  );
  await cli.do("exec", "demo", "echo", "and it still takes execs");

  step(
    `The shim, process ${shim}, is killed with SIGKILL too: its keeper starts it again, and nobody notices`,
  );
  process.kill(shim, "SIGKILL");
  demand(
    (await cli.do("exec", "demo", "echo", "still here")) === "still here\n",
    "the container takes execs",
  );
  const next = await daemon.shimPid("demo");
  demand(next !== shim, `another shim has it, process ${next}`);
  await cli.do("shims", "-n", daemon.namespace);

  step("The container is stopped (SIGTERM), and its timeline shown");
  await cli.do("kill", "--signal", "TERM", "demo");
  demand((await cli.do("wait", "demo")) === "42\n", "the exit status is 42, as the container chose");
  await cli.do("timeline", "demo");
  await cli.do("delete", "demo", "short");
  const left = await daemon.leftovers();
  demand(left === "", `no shim, mount, socket or file is left ${left}`.trim());
}

async function main(): Promise<void> {
  const daemon = await Daemon.start({ kind: "holdfastd" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      console.log("\nStopped; cleaning up.");
      void daemon.close().finally(() => process.exit(130));
    });
  }
  try {
    await show(daemon);
    console.log(`\n${paint(32, "Done.")} Everything that was started is cleaned up.`);
  } catch (error) {
    console.error(`\n${paint(31, "The demo failed:")} ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  } finally {
    await daemon.close();
  }
}

await main();
