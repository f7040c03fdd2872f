// Signals that operators and supervisors send: none but those meant to end it ends the daemon, none opens Node's inspector, and USR1 logs its state.
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { constants } from "node:os";
import { after, test } from "node:test";
import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { TasksDefinition, WaitRequest } from "../../src/api/generated/tasks.ts";
import { run } from "../harness/command.ts";
import { remove, start } from "../harness/containers.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { isRunning } from "../harness/processes.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const client = await daemon.client();
after(async () => {
  client.close();
  await daemon.close();
});

/** Ends it, cannot be caught, says that it is broken, or stops it for a while. */
const MEANT = [
  "TERM",
  "INT",
  "QUIT",
  "KILL",
  "STOP",
  "SEGV",
  "BUS",
  "ILL",
  "FPE",
  "ABRT",
  "TSTP",
  "TTIN",
  "TTOU",
];
const NUMBERS = Array.from({ length: 64 }, (_, n) => n + 1).filter((number) => {
  if (number === 32 || number === 33) return false;
  return !MEANT.some((name) => constants.signals[`SIG${name}` as NodeJS.Signals] === number);
});

/** TCP ports on which a process listens, in hexadecimal. */
function listeningPorts(pid: number): string[] {
  const sockets = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return "";
    }
  });
  const lines = ["tcp", "tcp6"].flatMap((kind) =>
    readFileSync(`/proc/${pid}/net/${kind}`, "utf8").split("\n"),
  );
  return lines.flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const isOurs = fields[3] === "0A" && sockets.includes(`socket:[${fields[9]}]`);
    return isOurs ? [fields[1] ?? ""] : [];
  });
}

/** kill(1) of util-linux sends signals that Node has no names for. */
async function send(number: number): Promise<void> {
  assert.equal((await run(["sh", "-c", `kill -${number} ${daemon.pid}`])).status, 0);
}

interface State {
  readonly tasks: readonly { id: string; phase: string; waiting: number; isConnected: boolean }[];
  readonly calls: readonly { method: string; namespace: string; ms: number }[];
  readonly memory: { readonly rss: number };
}

/** What it logs when it is asked. */
async function logged(): Promise<State> {
  const states = (): string[] => daemon.log.split("\n").filter((line) => line.includes('"msg":"state"'));
  const before = states().length;
  process.kill(daemon.pid, "SIGUSR1");
  await eventually("the state", () => states().length > before);
  return JSON.parse(states().at(-1) ?? "") as State;
}

test("every signal that is not meant to end it leaves it alive, and serving", async () => {
  const pid = await start(daemon, client, "through", ["sleep", "1000"]);
  for (const number of NUMBERS) {
    await send(number);
    await client.version.version({});
    assert.ok(daemon.isRunning, `signal ${number}`);
  }
  await eventually("the last one to be noted", () => daemon.log.includes("signal 64"));
  // The kernel sends it with every client that goes early.
  assert.ok(!daemon.log.includes("SIGPIPE"));
  assert.deepEqual(listeningPorts(daemon.pid), []);
  assert.ok(isRunning(pid));
});

test("SIGUSR1 logs what it is at", async () => {
  const waiting = client.tasks.wait({ containerId: "through", execId: "" });
  await client.version.version({});
  const state = await logged();
  const [task] = state.tasks;
  assert.deepEqual(
    [task?.id, task?.phase, task?.waiting, task?.isConnected],
    ["through", "running", 1, true],
  );
  const call = state.calls.find(({ method }) => method.endsWith("Tasks/Wait"));
  assert.equal(call?.namespace, daemon.namespace);
  assert.ok(state.memory.rss > 1_000_000);
  await client.tasks.kill({ containerId: "through", execId: "", signal: 9, all: true });
  await waiting;
  await remove(client, "through");
});

test("a client that asks for a wait and goes, again and again, leaves nothing in the daemon", async () => {
  await start(daemon, client, "polled", ["sleep", "1000"]);
  const { fullName, methods } = TasksDefinition;
  const metadata = new Metadata();
  metadata.set("containerd-namespace", daemon.namespace);
  const own = new Client(`unix:${daemon.address}`, credentials.createInsecure());
  const waiting = async (): Promise<number> => {
    const { tasks } = await logged();
    return tasks.find(({ id }) => id === "polled")?.waiting ?? -1;
  };
  for (let round = 0; round < 3; round++) {
    const calls = Array.from({ length: 20 }, () =>
      own.makeUnaryRequest(
        `/${fullName}/${methods.wait.name}`,
        (request: WaitRequest) => Buffer.from(WaitRequest.encode(request).finish()),
        (bytes) => bytes,
        { containerId: "polled", execId: "" },
        metadata,
        () => {},
      ),
    );
    await eventually("all to wait", async () => (await waiting()) === calls.length);
    for (const call of calls) call.cancel();
    await eventually("nobody to wait", async () => (await waiting()) === 0);
  }
  own.close();
  await remove(client, "polled");
});

for (const name of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
  test(`${name} ends it in order, and its containers run on`, async () => {
    const own = await daemon.client();
    const pid = await start(daemon, own, `over-${name.toLowerCase()}`, ["sleep", "1000"]);
    own.close();
    process.kill(daemon.pid, name);
    assert.equal((await daemon.ended())?.status, 0);
    assert.ok(isRunning(pid));
    await daemon.launch();
    const again = await daemon.client();
    await remove(again, `over-${name.toLowerCase()}`);
    again.close();
  });
}
