// What the keeper is for and what it costs: how long a shim is away that is killed and started again by it, or replaced by another version, and by how much a life
// is longer with it. Used by main.ts.
import { Playground } from "../test/harness/direct-shim.ts";
import { ShimClient } from "../test/harness/shim-client.ts";
import { median, quartile } from "./time.ts";

/** A shim that dies for the third time within a minute is given up. */
const DEATHS = 2;

export interface Recovery {
  /** From SIGKILL to the next answer on a connection that was there before; median, in ms. */
  readonly killed: number;
  /** The Upgrade call, whole: the new program is asked first; median, in ms. */
  readonly upgraded: number;
  readonly count: number;
}

/** Of `shims` shims with a container each. */
export async function recovery(shims: number): Promise<Recovery> {
  const place = await Playground.create();
  const killed: number[] = [];
  const upgraded: number[] = [];
  try {
    for (let index = 0; index < shims; index++) {
      const id = `recovers-${index}`;
      const shim = await place.shim(id, { args: ["sleep", "100000"] });
      await shim.create(id, place.bundle(id));
      await shim.start(id);
      for (let death = 0; death < DEATHS; death++) {
        const { shimPid } = await shim.connect(id);
        const start = performance.now();
        process.kill(shimPid, "SIGKILL");
        await shim.state(id);
        killed.push(performance.now() - start);
        const asked = performance.now();
        await shim.upgrade(place.binary);
        upgraded.push(performance.now() - asked);
      }
      await place.endContainer(shim, id);
      await place.forget(shim, id);
    }
  } finally {
    await place.close();
  }
  return { killed: median(killed), upgraded: median(upgraded), count: killed.length };
}

/**
 * By how much a life of `true` is longer with a keeper beside its shim, from the shim's start to its end, in ms: of so many of each, in turns, the first quartiles.
 * What else the machine does is many times as much, and is in the upper half.
 */
export async function keeperCost(lives: number): Promise<number> {
  const place = await Playground.create();
  const times: Record<"on" | "off", number[]> = { on: [], off: [] };
  try {
    for (let index = 0; index < lives; index++) {
      // Whoever comes first has no advantage of it.
      const turns = index % 2 === 0 ? (["on", "off"] as const) : (["off", "on"] as const);
      for (const keeper of turns) times[keeper].push(await life(place, `costs-${index}-${keeper}`, keeper));
    }
  } finally {
    await place.close();
  }
  return quartile(times.on) - quartile(times.off);
}

async function life(place: Playground, id: string, keeper: "on" | "off"): Promise<number> {
  place.makeBundle(id, { args: ["true"] });
  const begin = performance.now();
  const shim = await ShimClient.connect(await place.start(id, { env: { HOLDFAST_KEEPER: keeper } }));
  await shim.create(id, place.bundle(id));
  await shim.start(id);
  await shim.wait(id);
  await shim.delete(id);
  await shim.shutdown(id).catch(() => {});
  const took = performance.now() - begin;
  shim.close();
  await place.removeBundle(id);
  return took;
}
