// Broken ttrpc: valid frames, changed at random, at a real shim. It answers or hangs up, and serves the others as before.

import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { SPEC_PROCESS } from "../../../src/api/any.ts";
import { DebugDefinition } from "../../../src/api/generated/debug.ts";
import { TaskDefinition } from "../../../src/api/generated/task.ts";
import type { MessageCodec } from "../../../src/ttrpc/codec.ts";
import { encodePayload, encodeRequest } from "../../../src/ttrpc/envelope.ts";
import { FrameType, newFrame, sealFrame } from "../../../src/ttrpc/frame.ts";
import { addressFile, Playground } from "../../harness/direct-shim.ts";
import { eventually } from "../../harness/eventually.ts";
import { memoryOf } from "../../harness/processes.ts";
import { isSanitizerBuild } from "../../harness/runtime.ts";
import { json } from "../../harness/shim-client.ts";
import type { Campaign } from "../campaign.ts";
import type { Random } from "../random.ts";
import { mutateBytes } from "./mutate.ts";

/** What a shim may have grown to, in KiB. */
const MOST_MEMORY = 6 * 1024;

export const fuzzFrames: Campaign = {
  name: "fuzz-frames",
  what: "changed ttrpc frames at a real shim: it lives, serves others, and holds nothing of them",
  lives: { short: 400, full: 1_000_000 },
  async run(run) {
    const place = await Playground.create();
    try {
      const shim = await place.shim("fuzz", { args: ["sleep", "100000"] });
      await shim.create("fuzz", place.bundle("fuzz"));
      await shim.start("fuzz");
      const { shimPid } = await shim.connect("fuzz");
      const path = addressFile(place.bundle("fuzz")).replace("unix://", "");
      const descriptors = (): number => readdirSync(`/proc/${shimPid}/fd`).length;
      const before = descriptors();
      const seeds = validFrames();
      for (let n = 0; n < run.lives; n++) {
        run.did("frames", await sendSome(path, seeds, run.random));
        run.did("connections");
        if (n % 20 > 0) continue;
        const { shimPid: now } = await shim.connect("fuzz");
        if (!run.check("answers", now === shimPid, `connection ${n}: shim ${now}`)) break;
      }
      await eventually("the connections to be gone", () => descriptors() <= before);
      const { private: memory } = memoryOf(shimPid);
      if (!isSanitizerBuild) run.check("memory", memory < MOST_MEMORY, `${memory} KiB`);
      const { status } = await shim.state("fuzz");
      run.check("containers that live on", status === 2, `status ${status}`);
      await place.endContainer(shim, "fuzz");
      await place.forget(shim, "fuzz");
      const left = await place.leftovers();
      run.check("what is left of all", left === "", left);
    } finally {
      await place.close();
    }
  },
};

/** None of these ends the container, or makes one: a change of them might hit the very one that is asked about. */
function validFrames(): Uint8Array[] {
  const { methods, fullName } = TaskDefinition;
  const named = { id: "fuzz", execId: "" };
  const none = { execId: "none", id: "fuzz" };
  const spec = json(SPEC_PROCESS, { args: ["true"], cwd: "/", env: ["A=b"], user: { uid: 0, gid: 0 } });
  const stdio = { stdin: "", stdout: "", stderr: "", terminal: false };
  const request = <T>(service: string, method: string, codec: MessageCodec<T>, message: T): Uint8Array => {
    const writer = encodeRequest({ service, method, timeoutMs: undefined, metadata: new Map() }, newFrame());
    return sealFrame(encodePayload(3, codec, message, writer), 1, FrameType.REQUEST, 0);
  };
  return [
    request(fullName, "Connect", methods.connect.requestType, { id: "fuzz" }),
    request(fullName, "State", methods.state.requestType, named),
    request(fullName, "Wait", methods.wait.requestType, named),
    request(fullName, "Pids", methods.pids.requestType, { id: "fuzz" }),
    request(fullName, "Stats", methods.stats.requestType, { id: "fuzz" }),
    request(fullName, "ResizePty", methods.resizePty.requestType, { ...named, width: 80, height: 24 }),
    request(fullName, "CloseIO", methods.closeIO.requestType, { ...named, stdin: true }),
    request(fullName, "Exec", methods.exec.requestType, { ...none, ...stdio, spec }),
    request(fullName, "Start", methods.start.requestType, none),
    request(DebugDefinition.fullName, "Dump", DebugDefinition.methods.dump.requestType, {}),
  ];
}

/** A connection with some frames in pieces of any size, that ends in any way. Returns how many. */
async function sendSome(path: string, seeds: readonly Uint8Array[], random: Random): Promise<number> {
  const socket = connect(path);
  socket.on("error", () => {});
  socket.resume();
  await once(socket, "connect");
  const count = random.between(1, 8);
  for (let n = 0; n < count; n++) {
    const seed = Uint8Array.from(random.pick(seeds));
    // Streams of a client are odd, and grow.
    if (random.chance(0.8)) seed.set([0, 0, 0, 2 * n + 1], 4);
    write(socket, random.chance(0.1) ? seed : mutateBytes(seed, random), random);
  }
  const gone = new Promise((done) => socket.once("close", done));
  if (random.chance(0.5)) socket.destroy();
  else socket.end();
  // Calls that wait for the container's end are answered never: the half-closed connection is enough of an end for the shim.
  await Promise.race([gone, new Promise((done) => setTimeout(done, 50))]);
  socket.destroy();
  return count;
}

function write(socket: Socket, bytes: Uint8Array, random: Random): void {
  const cut = random.chance(0.5) ? bytes.length : random.between(0, bytes.length);
  socket.write(bytes.subarray(0, cut));
  if (cut < bytes.length) socket.write(bytes.subarray(cut));
}
