// The shim's descriptors: it may have as many as there are, its children get the limit that was there, and with none left it rests until there
// are some again (containerd 12510, containerd/cri 448).
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { Playground } from "../harness/direct-shim.ts";
import { eventually } from "../harness/eventually.ts";
import { openFiles } from "../harness/processes.ts";
import { failsOnGoShim } from "../harness/runtime.ts";
import { ShimClient } from "../harness/shim-client.ts";

const place = await Playground.create();
after(() => place.close());

/** Soft and hard limit of open files. */
function limitsOf(pid: number): string[] {
  const [, soft = "", hard = ""] =
    readFileSync(`/proc/${pid}/limits`, "utf8").match(/^Max open files +(\S+) +(\S+)/m) ?? [];
  return [soft, hard];
}

function ticksOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

test("the shim has all descriptors that it may have, and the runtime the limit of a plain host", {
  skip: failsOnGoShim("Go's runtime does so by itself"),
}, async () => {
  place.makeBundle("limit", { args: ["sleep", "1000"] });
  const runc = join(place.directory, "runc-limit");
  writeFileSync(runc, `#!/bin/sh\necho "$(ulimit -Sn) $(ulimit -Hn)" >>${runc}.limits\nexec runc "$@"\n`, {
    mode: 0o755,
  });
  const shim = await ShimClient.connect(
    await place.start("limit", { wrapper: ["prlimit", "--nofile=300:2000"] }),
  );
  const { shimPid } = await shim.connect("limit");
  assert.deepEqual(limitsOf(shimPid), ["2000", "2000"]);
  await shim.create("limit", place.bundle("limit"), { options: { binaryName: runc } });
  await shim.start("limit");
  await place.endContainer(shim, "limit");
  const limits = new Set(readFileSync(`${runc}.limits`, "utf8").trim().split("\n"));
  // As the first process has them, bounded as systemd bounds its services, as far as the daemon's hard limit lets it.
  const [soft, hard] = limitsOf(1).map((limit) =>
    limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit),
  );
  assert.deepEqual([...limits], [`${Math.min(soft ?? 0, 1024)} ${Math.min(hard ?? 0, 2000)}`]);
  await place.forget(shim, "limit");
});

test("a shim without descriptors rests, says so once, and answers again when there is room", {
  skip: failsOnGoShim("it tries again and again"),
}, async () => {
  const LIMIT = 48;
  place.makeBundle("full", { args: ["sleep", "1000"] });
  const address = await place.start("full", { wrapper: ["prlimit", `--nofile=${LIMIT}:${LIMIT}`] });
  const shim = await ShimClient.connect(address);
  await shim.create("full", place.bundle("full"));
  await shim.start("full");
  const { shimPid } = await shim.connect("full");
  const sockets: Socket[] = [];
  for (let n = 0; n < LIMIT + 20; n += 1) {
    const socket = connect(address.replace("unix://", ""));
    await new Promise((done, fail) => socket.once("connect", done).once("error", fail));
    sockets.push(socket);
  }
  await eventually("the last descriptor to be taken", () => openFiles(shimPid).length >= LIMIT - 1);
  const complaints = (): number => place.log.split("no connection can be taken").length - 1;
  await eventually("a word in the log", () => complaints() > 0);
  const before = ticksOf(shimPid);
  // Several rests. One that tries again at once uses all of a processor meanwhile: a hundred ticks a second.
  await new Promise((next) => setTimeout(next, 2_000));
  assert.ok(ticksOf(shimPid) - before < 20, `${ticksOf(shimPid) - before} ticks`);
  assert.equal(complaints(), 1);
  // Those that have a connection are served.
  assert.equal((await shim.connect("full")).shimPid, shimPid);
  const late = ShimClient.connect(address).then((client) =>
    client.connect("full").then(() => client.close()),
  );
  for (const socket of sockets) socket.destroy();
  await late;
  await place.endContainer(shim, "full");
  await place.forget(shim, "full");
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
