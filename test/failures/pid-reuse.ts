// Run by pid-reuse.test.ts in a pid namespace that has few pids, so that every number comes round again within seconds: processes that
// succeed and processes that fail take turns, in containers and as execs. Prints how many there were, or fails at the first that is mistaken.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Playground } from "../harness/direct-shim.ts";

const rounds = Number(process.argv[2]);
const place = await Playground.create();
const pids = new Set<number>();
let reused = 0;

function note(pid: number): void {
  if (pids.has(pid)) reused++;
  pids.add(pid);
}

try {
  const shim = await place.shim("long", { args: ["sleep", "100000"] });
  await shim.create("long", place.bundle("long"));
  await shim.start("long");
  for (let round = 0; round < rounds; round++) {
    const fails = round % 2 === 1;
    const command = fails ? ["false"] : ["true"];
    await shim.exec("long", `e${round}`, command);
    note(await shim.start("long", `e${round}`));
    assert.equal((await shim.wait("long", `e${round}`)).exitStatus, fails ? 1 : 0, `exec ${round}`);
    await shim.delete("long", `e${round}`);
    if (round % 8 > 1) continue;
    const id = `c${round}`;
    const other = await place.shim(id, { args: command });
    note(await other.create(id, place.bundle(id)));
    await other.start(id);
    assert.equal((await other.wait(id)).exitStatus, fails ? 1 : 0, `container ${round}`);
    await other.delete(id);
    await place.forget(other, id);
  }
  await place.endContainer(shim, "long");
  await place.forget(shim, "long");
  console.log(
    JSON.stringify({ rounds, reused, pidMax: Number(readFileSync("/proc/sys/kernel/pid_max", "utf8")) }),
  );
} finally {
  await place.close();
}
process.exit(0);
