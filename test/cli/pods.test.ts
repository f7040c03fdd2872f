// `holdfast shims` and `shim` for a pod: one shim with several containers, ours and Debian's, answering and hung.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { processInfo } from "../harness/processes.ts";
import { GO_RUNTIME, OUR_RUNTIME } from "../harness/runtime.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

const pods = [
  { name: "our", runtime: OUR_RUNTIME },
  { name: "their", runtime: GO_RUNTIME },
] as const;

before(async () => {
  for (const { name, runtime } of pods) {
    await join(runtime, name, `${name}-pod`);
    await join(runtime, name, `${name}-member`);
  }
});

/** Starts a container in the pod that is called `<name>-pod`. */
async function join(runtime: string, name: string, id: string): Promise<void> {
  daemon.ctr.ids.add(id);
  const annotations = ["io.kubernetes.cri.sandbox-id", "io.containerd.runc.v2.group"].flatMap((key) => [
    "--annotation",
    `${key}=${name}-pod`,
  ]);
  const flags = ["--name", id, "--runtime", runtime, ...annotations, "--rootfs", daemon.rootfs];
  await cli.do(["run", "-d", ...flags, "--", "until-signal", "TERM=9"]);
}

interface ShimRow {
  id: string;
  pid: number;
  socket: string;
  containers: { id: string; status: string; pid: number }[];
}

async function shimOf(name: string): Promise<ShimRow> {
  const rows = (await cli.json(["shims", "-n", daemon.namespace])) as ShimRow[];
  const row = rows.find(({ id }) => id === `${name}-pod`);
  assert.ok(row !== undefined);
  return row;
}

for (const { name } of pods) {
  const [pod, member] = [`${name}-pod`, `${name}-member`];

  test(`${name} pod: one shim is listed, with both containers`, async () => {
    const shim = await shimOf(name);
    assert.deepEqual(
      shim.containers.map(({ id, status }) => [id, status]),
      [
        [member, "running"],
        [pod, "running"],
      ],
    );
    const table = await cli.do(["shims", "-n", daemon.namespace]);
    assert.match(table, new RegExp(`^${pod} .* 2: 2 running `, "m"));
  });

  test(`${name} pod: a container of it is meant by its id, by its pid, or by -c`, async () => {
    const { socket, pid, containers } = await shimOf(name);
    const inside = containers.find(({ id }) => id === member)?.pid;
    for (const line of [[member], [socket, "-c", member], [String(pid), "-c", member]]) {
      const [target = "", ...flags] = line;
      const state = (await cli.json(["shim", target, "state", ...flags])) as { id: string; pid: number };
      assert.deepEqual(state.id, member);
      assert.deepEqual(state.pid, inside);
    }
    const output = await cli.run(["shim", member, "exec", "--", "sh", "-c", "echo in; exit 3"]);
    assert.deepEqual(output, { status: 3, stdout: "in\n", stderr: "" });
  });

  test(`${name} pod: while its shim is stopped every verb ends in time and says why`, async () => {
    const { pid } = await shimOf(name);
    process.kill(pid, "SIGSTOP");
    await eventually("the shim to stop", () => processInfo(pid)?.state === "T");
    try {
      for (const verb of [["state"], ["pids"], ["exec", "true"], ["kill"], ["wait"], ["shutdown"]]) {
        const line = ["shim", "--timeout", "100ms", member, ...verb];
        const { status, stderr } = await cli.run(line);
        assert.equal(status, verb[0] === "exec" ? 125 : 1);
        assert.match(
          stderr,
          new RegExp(`no answer .* in 100 ms; a signal has stopped it: kill -CONT ${pid}`),
        );
      }
      const dump = await cli.do(["shim", "--timeout", "100ms", member, "dump"]);
      assert.match(dump, /answers +no/);
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });

  test(`${name} pod: the end of one container leaves the other, and its shim stays`, async () => {
    const { pid } = await shimOf(name);
    const waiting = cli.spawn(["shim", member, "wait"]);
    await cli.do(["shim", member, "kill"]);
    assert.equal((await waiting.exited).stdout, "9\n");
    assert.match(
      await cli.do(["shims", "-n", daemon.namespace]),
      new RegExp(`^${pod} .* 2: 1 stopped, 1 running `, "m"),
    );
    await cli.do(["delete", member]);
    const refused = await cli.run(["shim", pod, "shutdown"]);
    assert.match(refused.stderr, new RegExp(`it stays as long as it has containers: ${pod}\n`));
    assert.equal((await shimOf(name)).pid, pid);
    await cli.do(["delete", "-f", pod]);
  });
}

test("nothing is left of all that", async () => {
  assert.equal(await daemon.leftovers(), "");
});
