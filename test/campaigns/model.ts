// The lifecycle as a model: commands drawn at random, and shrunk when one fails, at the real shim, whose answers must be those of a table that was
// written without looking at its own (docs/shim-protocol.md is what it is from).
import fc from "fast-check";
import { Code, TtrpcError } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import type { ShimClient } from "../harness/shim-client.ts";
import type { Campaign, CampaignRun } from "./campaign.ts";

/** The status numbers of State. */
const CREATED = 1;
const RUNNING = 2;
const STOPPED = 3;
const PAUSED = 4;

type Init = "none" | "created" | "running" | "paused" | "stopped" | "deleted";
type Exec = "added" | "running" | "stopped";

/** What is believed of the container. */
interface Model {
  init: Init;
  execs: Map<string, Exec>;
}

/** What it is in truth. */
interface Real {
  readonly place: Playground;
  readonly shim: ShimClient;
  readonly id: string;
}

type Command = fc.AsyncCommand<Model, Real>;

const SLEEPS = ["sleep", "100000"];
const EXEC_IDS = ["a", "b"];

/** Asserts that the call is refused with the code, or answered where there is none. */
async function answers(what: string, call: Promise<unknown>, code: Code | undefined): Promise<void> {
  let found: Code | undefined;
  try {
    await call;
  } catch (error) {
    if (!(error instanceof TtrpcError)) throw error;
    found = error.code as Code;
  }
  if (found !== code) throw new Error(`${what}: code ${found ?? "none"}, and not ${code ?? "none"}`);
}

function command(name: string, run: (model: Model, real: Real) => Promise<void>): Command {
  return { check: () => true, run, toString: () => name };
}

/** NOT_FOUND where there is no container, else the code of the state. */
function unless(init: Init, code: Code | undefined): Code | undefined {
  return init === "none" || init === "deleted" ? Code.NOT_FOUND : code;
}

const alive = (init: Init): boolean => init === "created" || init === "running" || init === "paused";

const commands: readonly Command[] = [
  command("create", async (model, { place, shim, id }) => {
    const exists = model.init !== "none" && model.init !== "deleted";
    await answers("create", shim.create(id, place.bundle(id)), exists ? Code.ALREADY_EXISTS : undefined);
    if (!exists) Object.assign(model, { init: "created", execs: new Map() });
  }),
  command("start", async (model, { shim, id }) => {
    const may = model.init === "created";
    await answers("start", shim.start(id), unless(model.init, may ? undefined : Code.FAILED_PRECONDITION));
    if (may) model.init = "running";
  }),
  command("pause", async (model, { shim, id }) => {
    const may = model.init === "running";
    await answers("pause", shim.pause(id), unless(model.init, may ? undefined : Code.FAILED_PRECONDITION));
    if (may) model.init = "paused";
  }),
  command("resume", async (model, { shim, id }) => {
    const may = model.init === "paused";
    await answers("resume", shim.resume(id), unless(model.init, may ? undefined : Code.FAILED_PRECONDITION));
    if (may) model.init = "running";
  }),
  command("kill", async (model, { shim, id }) => {
    await answers(
      "kill",
      shim.kill(id, 9),
      unless(model.init, model.init === "stopped" ? Code.NOT_FOUND : undefined),
    );
    if (!alive(model.init)) return;
    const { exitStatus } = await shim.wait(id);
    if (exitStatus !== 137) throw new Error(`killed, and ended with ${exitStatus}`);
    model.init = "stopped";
    // They end with it, before it.
    for (const [execId, state] of model.execs) if (state === "running") model.execs.set(execId, "stopped");
  }),
  command("delete", async (model, { shim, id }) => {
    const may = model.init === "created" || model.init === "stopped";
    await answers("delete", shim.delete(id), deleteCode(model.init, may));
    if (may) model.init = "deleted";
  }),
  command("state", async (model, { shim, id }) => {
    const wanted = {
      created: CREATED,
      running: RUNNING,
      paused: PAUSED,
      stopped: STOPPED,
      none: undefined,
      deleted: undefined,
    }[model.init];
    if (wanted === undefined) return answers("state", shim.state(id), Code.NOT_FOUND);
    const { status } = await shim.state(id);
    if (status !== wanted)
      throw new Error(`state: ${status}, and not ${wanted} of one that is ${model.init}`);
  }),
  command("resize", async (model, { shim, id }) => {
    await answers("resize", shim.resize(id, 80, 24), unless(model.init, undefined));
  }),
  command("closeStdin", async (model, { shim, id }) => {
    await answers("closeStdin", shim.closeStdin(id), unless(model.init, undefined));
  }),
  command("wait", async (model, { shim, id }) => {
    if (model.init === "stopped") {
      if ((await shim.wait(id)).exitStatus !== 137) throw new Error("wait tells another end");
    } else if (!alive(model.init)) await answers("wait", shim.wait(id), Code.NOT_FOUND);
  }),
  command("update", async (model, { shim, id }) => {
    const call = shim.update(id, { cpu: { shares: 512 } });
    await answers(
      "update",
      call,
      unless(model.init, model.init === "stopped" ? Code.FAILED_PRECONDITION : undefined),
    );
  }),
  ...EXEC_IDS.flatMap((execId) => execCommands(execId)),
];

/** Delete is remembered: asked again, it gives the same answer. */
function deleteCode(init: Init, may: boolean): Code | undefined {
  if (may || init === "deleted") return undefined;
  return init === "none" ? Code.NOT_FOUND : Code.FAILED_PRECONDITION;
}

function execCommands(execId: string): Command[] {
  const missing = (model: Model): Code | undefined =>
    unless(model.init, model.execs.has(execId) ? undefined : Code.NOT_FOUND);
  return [
    command(`exec ${execId}`, async (model, { shim, id }) => {
      const open = model.init === "created" || model.init === "running";
      const taken = model.execs.has(execId) ? Code.ALREADY_EXISTS : undefined;
      await answers(
        "exec",
        shim.exec(id, execId, SLEEPS),
        unless(model.init, open ? taken : Code.FAILED_PRECONDITION),
      );
      if (open && taken === undefined) model.execs.set(execId, "added");
    }),
    command(`start ${execId}`, async (model, { shim, id }) => {
      // In a container that was not started yet runtimes differ, and in a paused one they wait.
      if (model.init === "created" || model.init === "paused") return;
      const state = model.execs.get(execId);
      const code = model.init === "stopped" || state !== "added" ? Code.FAILED_PRECONDITION : undefined;
      await answers("start of an exec", shim.start(id, execId), missing(model) ?? code);
      if (missing(model) === undefined && code === undefined) model.execs.set(execId, "running");
    }),
    command(`kill ${execId}`, async (model, { shim, id }) => {
      if (model.init === "paused") return;
      const state = model.execs.get(execId);
      const code = { added: Code.FAILED_PRECONDITION, running: undefined, stopped: Code.NOT_FOUND }[
        state ?? "added"
      ];
      await answers("kill of an exec", shim.kill(id, 9, execId), missing(model) ?? code);
      if (missing(model) !== undefined || state !== "running") return;
      const { exitStatus } = await shim.wait(id, execId);
      if (exitStatus !== 137) throw new Error(`an exec was killed, and ended with ${exitStatus}`);
      model.execs.set(execId, "stopped");
    }),
    command(`delete ${execId}`, async (model, { shim, id }) => {
      const state = model.execs.get(execId);
      // Deletes are remembered, so one more of an exec that was there before is answered.
      if (state === undefined) return;
      const code = state === "running" ? Code.FAILED_PRECONDITION : undefined;
      await answers("delete of an exec", shim.delete(id, execId), unless(model.init, code));
      if (unless(model.init, code) === undefined) model.execs.delete(execId);
    }),
  ];
}

export const model: Campaign = {
  name: "model",
  what: "random requests, in any state, at the real shim: each is answered as the lifecycle's table says, and a failure is shrunk to its least",
  lives: { short: 15, full: 5000 },
  async run(run) {
    const place = await Playground.create();
    let count = 0;
    try {
      const property = fc.asyncProperty(
        fc.commands(
          [...commands].map((each) => fc.constant(each)),
          { maxCommands: 60, size: "max" },
        ),
        async (list) => {
          await oneLife(run, place, `model-${count++}`, list);
        },
      );
      const result = await fc.check(property, {
        seed: run.seed | 0,
        numRuns: run.lives,
        endOnFailure: false,
      });
      const example = String(result.counterexample?.[0] ?? "");
      const reason =
        result.errorInstance instanceof Error ? result.errorInstance.message : String(result.errorInstance);
      run.check("lives as the table has them", !result.failed, () => `${example}: ${reason}`);
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

async function oneLife(
  run: CampaignRun,
  place: Playground,
  id: string,
  list: Iterable<Command>,
): Promise<void> {
  const shim = await place.shim(id, { args: SLEEPS });
  const believed: Model = { init: "none", execs: new Map() };
  try {
    await fc.asyncModelRun(() => ({ model: believed, real: { place, shim, id } }), list);
    run.did("lives");
    run.did("commands", [...list].length);
  } finally {
    await shim.resume(id).catch(() => {});
    await shim.kill(id, 9).catch(() => {});
    await shim.wait(id).catch(() => {});
    await shim.delete(id).catch(() => {});
    await place.forget(shim, id);
  }
}
