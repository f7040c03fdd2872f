// How long a shim is away: killed and started again by its keeper, or replaced by another version. Used by main.ts.
import { Playground } from "../test/harness/direct-shim.ts";
import { median } from "./time.ts";

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
