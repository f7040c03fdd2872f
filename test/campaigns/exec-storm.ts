// The exec storm: many execs at once, some of which the kernel kills for want of memory, and a container that is killed in the middle of them.
import { Playground } from "../harness/direct-shim.ts";
import type { ShimClient } from "../harness/shim-client.ts";
import type { Campaign, CampaignRun } from "./campaign.ts";
import type { Random } from "./random.ts";

const OOM_KILLED = 137;
/** What all its processes together may have. */
const MEMORY = 64 << 20;

interface ExecPlan {
  readonly id: string;
  readonly args: readonly string[];
  /** What it exits with by itself; undefined for one that only ends with its container. */
  readonly status: number | undefined;
}

export const execStorm: Campaign = {
  name: "exec-storm",
  what: "execs by the dozen at once, OOM kills among them, and the container killed in the middle: every exit comes, in order",
  lives: { short: 3, full: 500 },
  async run(run) {
    const place = await Playground.create();
    try {
      for (let n = 0; n < run.lives; n++) await storm(run, place, `storm-${n}`, run.random.branch());
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

function planExec(random: Random, id: string): ExecPlan {
  const kind = random.next();
  if (kind < 0.15) return { id, args: ["sh", "-c", "cat /dev/zero | tail; exit 0"], status: 0 };
  if (kind < 0.3) return { id, args: ["sleep", "100000"], status: undefined };
  const status = random.between(0, 120);
  return { id, args: ["sh", "-c", `sleep ${random.pick(["0", "0.05", "0.2"])}; exit ${status}`], status };
}

async function storm(run: CampaignRun, place: Playground, id: string, random: Random): Promise<void> {
  const shim = await place.shim(id, {
    args: ["sleep", "100000"],
    memoryLimitBytes: MEMORY,
    hostPid: random.chance(0.3),
  });
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  const plans = Array.from({ length: random.between(10, 60) }, (_, n) => planExec(random, `e${n}`));
  const killAt = random.between(0, plans.length);
  const started = new Map<string, ExecPlan>();
  const attempts = plans.map(async (plan) => {
    if (await begin(shim, id, plan)) started.set(plan.id, plan);
    if (started.size === killAt) await shim.kill(id, 9).catch(() => {});
  });
  await Promise.all(attempts);
  await shim.kill(id, 9).catch(() => {});
  run.did("containers");
  run.did("execs", started.size);
  const { exitStatus } = await shim.wait(id);
  run.check("statuses of inits", exitStatus === 137, `${id}: ${exitStatus}`);
  await place.events.arrived("/tasks/exit", id, id);
  check(run, place, id, started);
  await shim.delete(id);
  await place.forget(shim, id);
}

/** false for one that came too late. */
async function begin(shim: ShimClient, id: string, { id: execId, args }: ExecPlan): Promise<boolean> {
  try {
    await shim.exec(id, execId, args);
    await shim.start(id, execId);
    return true;
  } catch {
    return false;
  }
}

function check(
  run: CampaignRun,
  place: Playground,
  id: string,
  started: ReadonlyMap<string, ExecPlan>,
): void {
  const order = place.events.order(id);
  const end = order.indexOf("exit");
  run.check(
    "exits of inits",
    order.filter((topic) => topic === "exit").length === 1,
    `${id}: ${order.join(" ")}`,
  );
  const statuses = new Map(
    place.events.all
      .filter(({ topic, body }) => topic === "/tasks/exit" && body.containerId === id)
      .map(({ body }) => [String(body.id), Number(body.exitStatus)]),
  );
  run.did("OOM kills", order.filter((topic) => topic === "oom").length);
  run.check("OOMs before the end", order.lastIndexOf("oom") < end, `${id}: ${order.join(" ")}`);
  for (const [execId, { status }] of started) {
    const exits = order.filter((topic) => topic === `exit ${execId}`).length;
    const at = order.indexOf(`exit ${execId}`);
    run.check("exits of execs", exits === 1, `${id} ${execId}: ${exits} exits`);
    run.check(
      "their order",
      at > order.indexOf(`exec-started ${execId}`) && at < end,
      `${id} ${execId}: ${order.join(" ")}`,
    );
    const told = statuses.get(execId);
    const holds = told === OOM_KILLED || (status !== undefined && told === status);
    run.check("statuses of execs", holds, `${id} ${execId}: ${told} for ${status ?? "a killed one"}`);
  }
}
