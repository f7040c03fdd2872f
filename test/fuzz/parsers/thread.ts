// The thread in which a parser is fuzzed: parsers.ts starts it, and looks at the shared memory to see that it goes on.
import { parentPort, workerData } from "node:worker_threads";
import { SHARED_HEADER, type ThreadTask } from "../parsers.ts";
import { parserTargets } from "./catalogue.ts";
import { fuzz } from "./guided.ts";

const { name, known, limits, shared } = workerData as ThreadTask;
const target = parserTargets.find((each) => each.name === name);
if (target === undefined) throw new Error(`${name}: no such parser`);
const view = new Int32Array(shared, 0, 2);
const room = new Uint8Array(shared, SHARED_HEADER);

const outcome = await fuzz(target, known, limits, (input) => {
  const shown = input.subarray(0, room.length);
  room.set(shown);
  Atomics.store(view, 1, shown.length);
  Atomics.add(view, 0, 1);
});
parentPort?.postMessage(outcome);
