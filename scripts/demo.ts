// npm run demo: the main job, step by step, on this machine: a container behind an unmodified containerd, through our shim, across a crash
// of the daemon. Everything lives in a temporary directory and goes away at the end, also on Ctrl-C.
import { Daemon } from "../test/harness/daemon.ts";
import { exitStatusOf } from "../test/harness/events.ts";
import { type Memory, memoryOf, processInfo } from "../test/harness/processes.ts";
import { GO_RUNTIME, OUR_RUNTIME } from "../test/harness/runtime.ts";

const colours = process.stdout.isTTY === true;
const paint = (code: number, text: string): string => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);

let steps = 0;
function step(text: string): void {
  steps++;
  console.log(`\n${paint(1, `${steps}. ${text}`)}`);
}

/** What a program said, set apart from what we say. */
function shown(text: string): void {
  for (const line of text.trimEnd().split("\n")) console.log(`   ${paint(36, line)}`);
}

function demand(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
  console.log(`   ${paint(32, "✓")} ${what}`);
}

const program = ["sh", "-c", "trap 'exit 42' TERM; while true; do sleep 0.1; done"];

async function show(ours: Daemon, go: Daemon): Promise<void> {
  step(`A private containerd runs in ${ours.directory}`);
  shown(await ours.ctr.do(["version"]));

  step("A container, run by containerd through our shim");
  shown((await ours.ctr.run("hello", ["echo", "Hello from the container"])).stdout);
  await ours.ctr.start("demo", program);
  const task = await ours.ctr.task("demo");
  const shim = await ours.shimPid("demo");
  shown(await ours.ctr.do(["tasks", "list"]));
  console.log(`   Its shim is process ${shim}: ${processInfo(shim)?.commandLine ?? ""}`);

  step("A second process in the container (ctr tasks exec)");
  shown((await ours.ctr.exec("demo", "look", ["ps"])).stdout);

  step("containerd is killed with SIGKILL, and started again");
  await ours.kill();
  demand(
    processInfo(task.pid) !== undefined,
    `while containerd is away, the container (process ${task.pid}) runs`,
  );
  await ours.launch();
  const found = await ours.ctr.task("demo");
  demand(
    found.pid === task.pid && found.status === "RUNNING",
    "the new containerd has found the same container, running",
  );
  demand((await ours.shimPid("demo")) === shim, `it is under the same shim, process ${shim}`);
  shown((await ours.ctr.exec("demo", "again", ["echo", "and it still takes execs"])).stdout);

  step("What a shim costs, 5 seconds after its container started: ours, and the one that containerd ships");
  await go.ctr.start("demo", program);
  const goShim = await go.shimPid("demo");
  await new Promise((resolve) => setTimeout(resolve, 5000));
  const [our, their] = [memoryOf(shim), memoryOf(goShim)];
  const row = (name: string, { rss, threads }: Memory): string =>
    `${name.padEnd(28)} ${(rss / 1024).toFixed(1).padStart(6)} MiB resident, threads: ${threads}`;
  shown([row("containerd-shim-holdfast-v2", our), row("containerd-shim-runc-v2 (Go)", their)].join("\n"));

  step("The container is stopped (SIGTERM), and its exit status told");
  const events = await ours.events();
  await ours.ctr.kill("demo", "SIGTERM");
  const exit = await events.exitOf("demo");
  shown(`${exit.topic} ${JSON.stringify(exit.body)}`);
  demand(exitStatusOf(exit) === 42, "the exit status is 42, as the container chose");
  await ours.ctr.remove("demo");
  const left = await ours.leftovers();
  demand(left === "", "no shim, mount, socket or file is left");
}

async function main(): Promise<void> {
  const daemons: Daemon[] = [];
  const cleanUp = async (): Promise<void> => {
    for (const daemon of daemons.splice(0)) await daemon.close();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => {
      console.log("\nStopped; cleaning up.");
      void cleanUp().finally(() => process.exit(130));
    });
  }
  try {
    for (const runtime of [OUR_RUNTIME, GO_RUNTIME]) daemons.push(await Daemon.start({ runtime }));
    const [ours, go] = daemons;
    if (ours === undefined || go === undefined) throw new Error("no daemon");
    await show(ours, go);
    console.log(`\n${paint(32, "Done.")} Everything that was started is cleaned up.`);
  } catch (error) {
    console.error(`\n${paint(31, "The demo failed:")} ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  } finally {
    await cleanUp();
  }
}

await main();
