// Deaths of a shim at any point at which something leaves it, once or twice in a container's life with execs, a terminal, input and output: the life goes on
// as if nothing had been. The kill storm kills from outside; this counts what the shim does, and so comes to the moments that nobody hits.
import { Playground } from "../harness/direct-shim.ts";
import { liveWhole } from "../keeper/whole-life.ts";
import type { Campaign } from "./campaign.ts";
import type { Random } from "./random.ts";

const WORKERS = 3;
/** A life has some ninety such points; before the fourth the shim does not serve yet, and its death is the start's failure. */
const POINTS: readonly [number, number] = [4, 86];
/** The next shim's, until it has taken over. */
const NEXT_POINTS: readonly [number, number] = [1, 12];

export const deaths: Campaign = {
  name: "deaths",
  what: "the shim dies at any point at which something leaves it, once or twice: statuses, output, events, connection and descriptors are as ever",
  lives: { short: 12, full: 1000 },
  async run(run) {
    const place = await Playground.create();
    try {
      const plans = Array.from({ length: run.lives }, (_, n) => [`dies-${n}`, plan(run.random)] as const);
      const worker = async (): Promise<void> => {
        for (let next = plans.shift(); next !== undefined; next = plans.shift()) {
          const [id, failpoint] = next;
          const report = await liveWhole(place, id, { HOLDFAST_FAILPOINT: failpoint }).catch(String);
          run.did("lives");
          if (run.check("lives", typeof report !== "string", `${failpoint}: ${report}`)) {
            const { deaths: count, cut } = report as Exclude<typeof report, string>;
            run.did("deaths", count);
            run.did("calls cut", cut);
          }
        }
      };
      await Promise.all(Array.from({ length: WORKERS }, worker));
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

function plan(random: Random): string {
  const point = (range: readonly [number, number]): string =>
    `${random.pick(["effect", "state"])}#${random.between(...range)}`;
  const first = point(POINTS);
  return random.chance(0.25) ? `${first},${point(NEXT_POINTS)}` : first;
}
