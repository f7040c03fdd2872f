// What an idle shim costs, with its keeper: there is one for each container of a host. bench/RESULTS.md has the figures beside the Go shim's.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { Daemon } from "../harness/daemon.ts";
import { eventually, patience } from "../harness/eventually.ts";
import { keeperOf } from "../harness/keeper.ts";
import { isGoShim, isSanitizerBuild } from "../harness/runtime.ts";

const daemon = await Daemon.start({ logLevel: "info" });
after(() => daemon.close());

/** In bytes. */
const LIMIT = 1.0e6;

/** What the process has for itself, in bytes. Code counts not: with a second shim it is shared. */
function ownMemory(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(rollup.match(/^Private_Dirty:\s+(\d+)/m)?.[1]) * 1024;
}

test("an idle shim and its keeper have at most 1 MB of their own", {
  skip: (isGoShim || isSanitizerBuild) && "it is about the release build",
}, async () => {
  await daemon.ctr.start("idle", ["sleep", "1000"]);
  const shim = await daemon.shimPid("idle");
  const keeper = keeperOf(shim) ?? assert.fail("no keeper");
  // The shim gives its memory back when nothing has happened for a while.
  await eventually(
    "little memory",
    () => ownMemory(shim) + ownMemory(keeper) <= LIMIT,
    patience(10_000),
  ).catch(() => assert.fail(`${ownMemory(shim)} bytes, and ${ownMemory(keeper)} of the keeper`));
  await daemon.ctr.remove("idle");
});
