// The kill storm: eight clients live containers' lives while everybody around them is killed and stopped; each knows how its containers truly end.
import { shimSocket } from "../../harness/leftovers.ts";
import { ShimClient } from "../../harness/shim-client.ts";
import type { Campaign } from "../campaign.ts";
import { Killer } from "./killer.ts";
import { Life } from "./life.ts";
import { planLife } from "./plan.ts";
import { Storm } from "./storm.ts";

const WORKERS = 8;

export const killStorm: Campaign = {
  name: "kill-storm",
  what: "daemon, shims, keepers, runtimes and loggers are killed and stopped under random containers, whose ends and outputs are known",
  lives: { short: 24, full: 10_000 },
  async run(run) {
    const storm = await Storm.begin(run);
    try {
      const plans = Array.from({ length: run.lives }, (_, n) => planLife(run.random, `storm-${n}`));
      let isOver = false;
      const rage = new Killer(storm).rage(() => isOver);
      const worker = async (): Promise<void> => {
        for (let plan = plans.shift(); plan !== undefined && !run.isCutShort; plan = plans.shift()) {
          const { id } = plan;
          await new Life(storm, plan).live().catch((error: unknown) => run.fail(`${id}: ${describe(error)}`));
        }
      };
      await Promise.all(Array.from({ length: WORKERS }, worker));
      isOver = true;
      storm.calm();
      await rage;
      const left = withoutOthers(storm, (await storm.end()).split("\n")).join("\n");
      run.check("what is left of all", left === "", left);
      for (const [, id = ""] of left.matchAll(/^control group .*\/(\S+)$/gm)) run.fail(storm.storyOf(id));
      for (const [, socket = ""] of left.matchAll(/^socket (.+)$/gm)) {
        const { daemon } = storm;
        const id = [...daemon.ctr.ids].find(
          (each) => shimSocket(daemon.address, daemon.namespace, each) === socket,
        );
        run.fail(`${storm.storyOf(id ?? "nobody")}\n${await dumpOf(socket)}`);
      }
    } finally {
      await storm.daemon.close();
    }
  },
};

/** Why a shim is still there. */
async function dumpOf(socket: string): Promise<string> {
  try {
    const shim = await ShimClient.connect(socket);
    const dump = JSON.stringify(await shim.dump());
    shim.close();
    return dump;
  } catch (error) {
    return `${socket}: ${describe(error)}`;
  }
}

/**
 * Without what a killed containerd leaves, which is counted, as it is not ours: a bundle that it had renamed and not removed, and the next one of that id,
 * which it cannot rename to the same name any more ("failed to delete bundle: rename …: file exists").
 */
function withoutOthers({ run, daemon }: Storm, left: readonly string[]): string[] {
  if (daemon.kind !== "containerd") return [...left];
  const isHalfRemoved = (line: string): boolean => /^bundle .*\/\.[^/]+$/.test(line);
  const half = left.filter(isHalfRemoved);
  if (half.length > 0) run.did("half removed bundles of a killed containerd", half.length);
  const isInTheWay = (line: string): boolean => half.includes(line.replace(/([^/]+)$/, ".$1"));
  return left.filter((line) => !isHalfRemoved(line) && !isInTheWay(line));
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
