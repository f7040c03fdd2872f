// Readers that go, pause and come again, disks that fill up, loggers that die: whatever takes a container's output, the container's end is its own.
import { execFileSync } from "node:child_process";
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Playground } from "../harness/direct-shim.ts";
import { makeFifo } from "../harness/fifo.ts";
import type { ShimClient } from "../harness/shim-client.ts";
import type { Campaign, CampaignRun } from "./campaign.ts";
import { numbers } from "./kill-storm/plan.ts";
import type { Random } from "./random.ts";

const END_TIMEOUT = 60_000;

export const readerFaults: Campaign = {
  name: "readers",
  what: "readers that go, pause and come back, full disks, loggers that die: containers end as they should, and what is lost is what may be",
  lives: { short: 6, full: 2000 },
  async run(run) {
    const place = await Playground.create();
    try {
      for (let n = 0; n < run.lives; n++) {
        const random = run.random.branch();
        const fault = random.pick([fickleReader, fickleReader, fullDisk, dyingLogger]);
        await fault(run, place, `readers-${n}`, random);
        run.did(fault.name);
      }
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

type Fault = (run: CampaignRun, place: Playground, id: string, random: Random) => Promise<void>;

/** A reader that comes for some bytes at a time, and is away in between. */
const fickleReader: Fault = async (run, place, id, random) => {
  const policy = random.pick(["block", "drop", "spill", "spill:1m"]);
  const lines = random.between(1, 300_000);
  const status = random.between(0, 120);
  const stdout = makeFifo(join(mkdtempSync(join(place.directory, "fifo-")), "out"));
  const args = ["sh", "-c", `seq 1 ${lines}; exit ${status}`];
  const shim = await place.shim(id, { args, annotations: { "io.holdfast.stdout": policy } });
  await shim.create(id, place.bundle(id), { stdout });
  await shim.start(id);
  const waited = shim.wait(id);
  const whole = numbers(1, lines);
  const taken = await readNowAndThen(stdout, random, waited);
  const exitStatus = (await within(waited)).exitStatus;
  run.check("statuses", exitStatus === status, `${id} (${policy}): ${exitStatus} for ${status}`);
  if (policy === "drop") {
    const dropped = (await shim.dump()).containers[0]?.output?.dropped ?? Number.NaN;
    run.check(
      "bytes dropped and taken",
      taken.length + dropped === whole.length,
      `${id}: ${taken.length} and ${dropped} of ${whole.length}`,
    );
  } else
    run.check(
      "whole outputs",
      taken === whole,
      `${id} (${policy}): ${taken.length} bytes for ${whole.length}`,
    );
  await forget(place, shim, id);
};

/** Until the container has ended and a reader has found the end. */
async function readNowAndThen(path: string, random: Random, ended: Promise<unknown>): Promise<string> {
  let hasEnded = false;
  const watch = (): void => {
    hasEnded = true;
  };
  ended.then(watch, watch);
  const pieces: Buffer[] = [];
  const buffer = Buffer.alloc(65_536);
  for (;;) {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const atMost = random.between(1, 500_000);
    const wasOver = hasEnded;
    let took = 0;
    let isAtEnd = false;
    for (let idle = 0; took < atMost && !isAtEnd && idle < 3; ) {
      const size = tryRead(fd, buffer, Math.min(buffer.length, atMost - took));
      if (size === undefined) {
        idle++;
        await sleep(5);
        continue;
      }
      pieces.push(Buffer.from(buffer.subarray(0, size)));
      took += size;
      isAtEnd = size === 0;
    }
    closeSync(fd);
    if (wasOver && isAtEnd && took === 0) return Buffer.concat(pieces).toString("latin1");
    await sleep(random.pick([0, 0, 10, 60]));
  }
}

/** undefined if there is nothing now. */
function tryRead(fd: number, buffer: Buffer, size: number): number | undefined {
  try {
    return readSync(fd, buffer, 0, size, null);
  } catch {
    return undefined;
  }
}

/** A log on a disk that fills up: what it refuses is lost, and the container knows nothing of it. */
const fullDisk: Fault = async (run, place, id, random) => {
  const disk = join(place.directory, `disk-${id}`);
  mkdirSync(disk);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "none", disk]);
  try {
    const lines = random.between(1, 300_000);
    const status = random.between(0, 120);
    const shim = await place.shim(id, { args: ["sh", "-c", `seq 1 ${lines}; exit ${status}`] });
    await shim.create(id, place.bundle(id), { stdout: `file://${disk}/log` });
    await shim.start(id);
    const { exitStatus } = await within(shim.wait(id));
    run.check("statuses", exitStatus === status, `${id} (full disk): ${exitStatus} for ${status}`);
    await forget(place, shim, id);
    const whole = numbers(1, lines);
    const { size } = statSync(join(disk, "log"));
    if (whole.length < 200_000)
      run.check("whole logs", readFileSync(join(disk, "log"), "latin1") === whole, `${id}: ${size} bytes`);
  } finally {
    execFileSync("umount", [disk]);
  }
};

/** A logger that ends, or stops reading, after some bytes. */
const dyingLogger: Fault = async (run, place, id, random) => {
  const logger = join(place.directory, `logger-${id}`);
  const bytes = random.pick([0, 1, 5000, 100_000]);
  writeFileSync(logger, `#!/bin/sh\nexec 5>&-\nhead -c ${bytes} <&3 >/dev/null\n`, { mode: 0o755 });
  const lines = random.between(1, 200_000);
  const status = random.between(0, 120);
  const shim = await place.shim(id, { args: ["sh", "-c", `seq 1 ${lines}; exit ${status}`] });
  await shim.create(id, place.bundle(id), { stdout: `binary://${logger}` });
  await shim.start(id);
  const { exitStatus } = await within(shim.wait(id));
  run.check("statuses", exitStatus === status, `${id} (logger): ${exitStatus} for ${status}`);
  await forget(place, shim, id);
};

async function forget(place: Playground, shim: ShimClient, id: string): Promise<void> {
  await shim.delete(id);
  await place.forget(shim, id);
}

async function within<T>(work: Promise<T>): Promise<T> {
  const late = sleep(END_TIMEOUT, undefined, { ref: false }).then(() => {
    throw new Error("the container has not ended");
  });
  return Promise.race([work, late]);
}
