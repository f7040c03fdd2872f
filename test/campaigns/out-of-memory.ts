// A shim and its keeper in a memory group that is too small: the kernel kills the shim when it is made to take more, and the container must not notice.
// Used by exhaustion.ts.
import { mkdirSync, openSync, rmdirSync, writeFileSync, writeSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { addressFile, type Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { makeFifo } from "../harness/fifo.ts";
import { keeperOf } from "../harness/keeper.ts";
import type { CampaignRun } from "./campaign.ts";
import type { Random } from "./random.ts";

const MEMORY = "/sys/fs/cgroup/memory";
/** What the group may have, in bytes: a shim that rests fits in. */
const LIMIT: readonly [number, number] = [4 << 20, 6 << 20];
/** A request as large as one may be, of which the last byte does not come. */
const LENGTH = (4 << 20) - 1;

export async function outOfMemory(
  run: CampaignRun,
  place: Playground,
  id: string,
  random: Random,
): Promise<void> {
  const status = random.between(0, 120);
  const shim = await place.shim(id, { args: ["sh", "-c", `read line; exit ${status}`] });
  const stdin = makeFifo(join(place.directory, `${id}-stdin`));
  await shim.create(id, place.bundle(id), { stdin });
  await shim.start(id);
  const ended = shim.task.wait({ id, execId: "" });
  const { shimPid } = await shim.connect(id);
  const group = join(MEMORY, `${place.namespace}-${id}`);
  const isLimited = limit(group, random.between(...LIMIT), [shimPid, keeperOf(shimPid) ?? 0]);
  if (isLimited) {
    const hogs = Array.from({ length: 6 }, () => hog(addressFile(place.bundle(id)).replace("unix://", "")));
    await eventually("the shim to be killed", async () => (await shim.connect(id)).shimPid !== shimPid);
    for (const socket of hogs) socket.destroy();
    run.did("kills for want of memory");
  } else run.did("groups that this machine has not");
  const state = await shim.state(id);
  run.check("containers that live on", state.status === 2, `${id}: status ${state.status}`);
  writeSync(openSync(stdin, "w"), "go on\n");
  const { exitStatus } = await ended;
  run.check("ends", exitStatus === status, `${id}: ${exitStatus} for ${status}`);
  run.check("deletes", (await shim.delete(id)).exitStatus === status, id);
  await place.forget(shim, id);
  if (isLimited) await eventually("the group to be free", () => tryRemove(group));
}

function limit(group: string, bytes: number, pids: readonly number[]): boolean {
  try {
    mkdirSync(group);
    writeFileSync(join(group, "memory.limit_in_bytes"), String(bytes));
    for (const pid of pids) writeFileSync(join(group, "cgroup.procs"), String(pid));
    return true;
  } catch {
    tryRemove(group);
    return false;
  }
}

/** Sends all of a long request but its end. */
function hog(path: string): Socket {
  const socket = connect(path);
  socket.on("error", () => {});
  const header = Buffer.alloc(10);
  header.writeUInt32BE(LENGTH, 0);
  header.writeUInt32BE(1, 4);
  header.writeUInt8(1, 8);
  socket.write(header);
  const send = async (): Promise<void> => {
    for (let sent = 0; sent < LENGTH - 1 && !socket.destroyed; sent += 64 << 10) {
      socket.write(Buffer.alloc(Math.min(64 << 10, LENGTH - 1 - sent), 1));
      await sleep(1);
    }
  };
  void send();
  return socket;
}

/** Whether nobody is in the group any more. */
export function tryRemove(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch {
    return false;
  }
}
