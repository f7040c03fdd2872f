// The daemon's events, across its restarts.
import { setTimeout as sleep } from "node:timers/promises";
import type { Envelope } from "../../api/generated/events.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { isAway } from "./daemon-task.ts";

/** How long a daemon that went away may take to come back, in ms. */
const MOST_AWAY = 60_000;
const RETRY = 250;

/** "away" when the stream has broken off, "back" when there is a new one: what happened in between is not in it. */
export type StreamItem = Envelope | "away" | "back";

/** Ends never by itself. Rejects if the daemon refuses the filters, or stays away for a minute. */
export async function* eventStream(
  daemon: DaemonClient,
  filters: readonly string[],
): AsyncGenerator<StreamItem> {
  let awaySince: number | undefined;
  for (;;) {
    try {
      // Asked for before anybody is told that the daemon is back, so that what is looked up then is not missed here.
      const stream = daemon.events.subscribe({ filters: [...filters] });
      const first = stream.next();
      first.catch(() => {});
      if (awaySince !== undefined) {
        await daemon.version.version({});
        awaySince = undefined;
        yield "back";
      }
      for (let next = await first; next.done !== true; next = await stream.next()) yield next.value;
    } catch (error) {
      if (!isAway(error)) throw error;
      if (awaySince !== undefined && performance.now() - awaySince > MOST_AWAY) throw error;
    }
    if (awaySince === undefined) {
      awaySince = performance.now();
      yield "away";
    }
    await sleep(RETRY);
  }
}
