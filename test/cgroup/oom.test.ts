import assert from "node:assert/strict";
import { test } from "node:test";
import { type OomCounts, type OomIo, OomTally, OomWatch, oomSource } from "../../src/cgroup/oom.ts";
import { recorded } from "./recorded.ts";

const V1 = {
  version: 1,
  counter: "/cg/memory.oom_control",
  eventControl: "/cg/cgroup.event_control",
} as const;
const V2 = { version: 2, counter: "/pod/c/memory.events", around: "/pod/memory.events" } as const;

function control(kills: number): string {
  return `oom_kill_disable 0\nunder_oom 0\noom_kill ${kills}\n`;
}

function events(kills: number, max = 0): string {
  return `low 0\nhigh 0\nmax ${max}\noom ${kills + max}\noom_kill ${kills}\noom_group_kill 0\n`;
}

/** Files by path, and descriptors that remember what was done with them. */
class FakeIo implements OomIo {
  readonly contents = new Map<string, string>();
  readonly open = new Map<number, string>();
  readonly watched = new Map<number, { kind: "data" | "priority"; ready: () => void }>();
  readonly written: [path: string, content: string][] = [];
  /** What the eventfd has counted and nobody has read. */
  signals = 0;
  /** Open files that were read from their start since the last change: only these wake a poll for priority data. */
  readonly #fresh = new Set<number>();
  #next = 10;

  readonly fds: OomIo["fds"] = {
    openRead: (path) => {
      if (!this.contents.has(path)) throw new Error(`open ${path}: ENOENT`);
      const fd = this.#make(path);
      this.#fresh.add(fd);
      return fd;
    },
    eventFd: () => this.#make("eventfd"),
    close: (fd) => assert.ok(!this.watched.has(fd) && this.open.delete(fd), `close of ${fd}`),
    discard: (fd) => this.fds.close(fd),
    read: (fd) => {
      const path = this.open.get(fd);
      if (path === "eventfd") return this.#takeSignals();
      return new TextEncoder().encode(this.contents.get(path ?? ""));
    },
    watch: (fd, ready) => void this.watched.set(fd, { kind: "data", ready }),
    watchPriority: (fd, ready) => void this.watched.set(fd, { kind: "priority", ready }),
    unwatch: (fd) => void this.watched.delete(fd),
  };
  readonly files: { write(path: string, content: string): void } = {
    write: (path, content) => void this.written.push([path, content]),
  };
  readonly text: OomIo["text"] = { decode: (bytes) => new TextDecoder().decode(bytes) };

  #takeSignals(): Uint8Array | null {
    const count = new BigUint64Array([BigInt(this.signals)]);
    this.signals = 0;
    return count[0] === 0n ? null : new Uint8Array(count.buffer);
  }

  #make(path: string): number {
    this.open.set(this.#next, path);
    return this.#next++;
  }

  notify(): void {
    this.signals++;
    for (const [fd, { kind, ready }] of [...this.watched])
      if (kind === "data" || this.#fresh.delete(fd)) ready();
  }
}

test("the files to watch lie in the memory cgroup", () => {
  assert.deepEqual(oomSource(recorded("v1").paths), {
    version: 1,
    counter: "/sys/fs/cgroup/memory/default/m1/memory.oom_control",
    eventControl: "/sys/fs/cgroup/memory/default/m1/cgroup.event_control",
  });
  assert.deepEqual(oomSource(recorded("v2").paths), {
    version: 2,
    counter: "/sys/fs/cgroup/system.slice/cri-1.scope/memory.events",
    around: "/sys/fs/cgroup/system.slice/memory.events",
  });
  assert.equal(oomSource({ version: 1, directory: () => undefined }), undefined);
});

test("v1: a notification is an OOM, though the kill is counted only later, and is not told twice", () => {
  const tally = new OomTally(1, control(0));
  assert.equal(tally.notified(control(0)), true);
  assert.equal(tally.settled(control(1)), false);
  assert.equal(tally.notified(control(1)), true);
  assert.equal(tally.settled(control(2)), false);
});

test("v1: a kill that no notification told of is told when init has exited", () => {
  const tally = new OomTally(1, control(0));
  assert.equal(tally.settled(control(1)), true);
  assert.equal(tally.settled(control(1)), false);
});

test("v1: notifications count on a kernel that has no counter", () => {
  const tally = new OomTally(1, "oom_kill_disable 0\nunder_oom 0\n");
  assert.equal(tally.notified("oom_kill_disable 0\nunder_oom 0\n"), true);
  assert.equal(tally.settled("oom_kill_disable 0\nunder_oom 0\n"), false);
});

test("v2: only a rise of oom_kill is an OOM, not memory pressure", () => {
  const tally = new OomTally(2, events(0));
  assert.equal(tally.notified(events(0, 7)), false);
  assert.equal(tally.notified(events(1, 9)), true);
  assert.equal(tally.notified(events(1, 12)), false);
  assert.equal(tally.settled(events(3, 12)), true);
});

test("kills from before the watch are not told", () => {
  assert.equal(new OomTally(2, events(4)).settled(events(4)), false);
  assert.equal(new OomTally(1, control(4)).settled(control(4)), false);
});

for (const [source, text] of [
  [V1, control],
  [V2, events],
] as const) {
  const name = `v${source.version}`;

  test(`${name}: a watch tells of each OOM and holds one descriptor`, () => {
    const io = new FakeIo();
    io.contents.set(source.counter, text(0));
    let told = 0;
    const watch = new OomWatch(source, io, () => told++);
    assert.equal(io.open.size, 1);
    io.contents.set(source.counter, text(1));
    io.notify();
    io.contents.set(source.counter, text(2));
    io.notify();
    assert.equal(told, 2);
    assert.equal(io.open.size, 1);
    watch.settle(false);
    assert.equal(told, 2);
    watch.close();
    assert.equal(io.open.size, 0);
    assert.equal(io.watched.size, 0);
  });

  test(`${name}: settling tells of a kill whose notification has not come yet`, () => {
    const io = new FakeIo();
    io.contents.set(source.counter, text(0));
    let told = 0;
    const watch = new OomWatch(source, io, () => told++);
    io.contents.set(source.counter, text(1));
    watch.settle(false);
    assert.equal(told, 1);
    watch.close();
    watch.settle(true);
    assert.equal(told, 1);
  });

  test(`${name}: the removal of the cgroup is no OOM and ends the watch`, () => {
    const io = new FakeIo();
    io.contents.set(source.counter, text(0));
    let told = 0;
    const watch = new OomWatch(source, io, () => told++);
    io.contents.delete(source.counter);
    io.notify();
    assert.equal(told, 0);
    assert.equal(io.open.size, 0);
    watch.settle(true);
    watch.close();
    assert.equal(told, 0);
  });

  test(`${name}: a cgroup that is gone already cannot be watched, and leaves no descriptor`, () => {
    const io = new FakeIo();
    assert.throws(() => new OomWatch(source, io, () => {}), /ENOENT/);
    assert.equal(io.open.size, 0);
  });

  test(`${name}: a cgroup that goes while its counter is read leaves no descriptor`, () => {
    const io = new FakeIo();
    io.contents.set(source.counter, text(0));
    io.fds.read = () => {
      throw new Error("read: ENODEV");
    };
    assert.throws(() => new OomWatch(source, io, () => {}), /ENODEV/);
    assert.equal(io.open.size, 0);
  });
}

test("v1: a notification that settling found waiting is told once", () => {
  const io = new FakeIo();
  io.contents.set(V1.counter, control(0));
  let told = 0;
  const watch = new OomWatch(V1, io, () => told++);
  const [waiting] = io.watched.values();
  io.signals = 1;
  io.contents.set(V1.counter, control(1));
  watch.settle(false);
  waiting?.ready();
  watch.settle(false);
  assert.equal(told, 1);
});

test("v1: the eventfd is registered for memory.oom_control, and v2 needs only a priority poll", () => {
  const io = new FakeIo();
  io.contents.set(V1.counter, control(0));
  new OomWatch(V1, io, () => {});
  assert.deepEqual(io.written, [[V1.eventControl, "11 10"]]);
  assert.deepEqual([...io.open], [[11, "eventfd"]]);
  assert.equal(io.watched.get(11)?.kind, "data");

  const unified = new FakeIo();
  unified.contents.set(V2.counter, events(0));
  new OomWatch(V2, unified, () => {});
  assert.deepEqual(unified.written, []);
  assert.deepEqual(
    [...unified.watched.values()].map(({ kind }) => kind),
    ["priority"],
  );
});

test("v1: a refused registration leaves no descriptor", () => {
  const io = new FakeIo();
  io.contents.set(V1.counter, control(0));
  io.files.write = () => {
    throw new Error("write: EACCES");
  };
  assert.throws(() => new OomWatch(V1, io, () => {}), /EACCES/);
  assert.equal(io.open.size, 0);
});

/** A pod's containers on v2, each with a limit of its own: the counters as the kernel has them. */
class FakePod {
  readonly io = new FakeIo();
  readonly told: string[] = [];
  readonly #watches = new Set<OomWatch>();
  #kills = 0;

  constructor() {
    this.io.contents.set(V2.around, events(0));
  }

  watch(name: string, kept?: OomCounts): OomWatch {
    const counter = `/pod/${name}/memory.events`;
    if (kept === undefined) this.io.contents.set(counter, events(0));
    return new OomWatch({ ...V2, counter }, this.io, () => this.told.push(name), kept, this.#watches);
  }

  /** The kernel kills in a container for the `total`th time; it is in none of ours if it has no name. */
  kill(name: string | undefined, total = 1): void {
    this.io.contents.set(V2.around, events(++this.#kills));
    if (name !== undefined) this.io.contents.set(`/pod/${name}/memory.events`, events(total));
  }

  /** systemd removes the scope of a container that has no process any more. */
  remove(name: string): void {
    this.io.contents.delete(`/pod/${name}/memory.events`);
  }
}

for (const [name, wake] of [
  ["before its watch is woken", false],
  ["and its watch is woken", true],
] as const) {
  test(`v2: a group that goes with its counter, ${name}: the group around tells of the kill, once`, () => {
    const pod = new FakePod();
    const watch = pod.watch("c");
    pod.kill("c");
    pod.remove("c");
    if (wake) pod.io.notify();
    assert.deepEqual(pod.told, []);
    // Whichever of its processes is reported first.
    watch.settle(true);
    watch.settle(true);
    assert.deepEqual(pod.told, ["c"]);
    watch.close();
    assert.equal(pod.io.open.size, 0);
  });
}

test("v2: a group that is gone was not killed in by the kernel if nothing was counted around it, or we were asked to kill", () => {
  const pod = new FakePod();
  const byHand = pod.watch("by-hand");
  const asked = pod.watch("asked");
  pod.remove("by-hand");
  byHand.settle(true);
  pod.kill(undefined);
  pod.remove("asked");
  asked.settle(false);
  assert.deepEqual(pod.told, []);
});

test("v2: without a counter around, nothing is told of a group that is gone", () => {
  const pod = new FakePod();
  pod.io.contents.delete(V2.around);
  const watch = pod.watch("c");
  pod.remove("c");
  watch.settle(true);
  pod.kill(undefined);
  watch.settle(true);
  assert.deepEqual(pod.told, []);
});

test("v2: what was counted around a group before it was last read is not its own", () => {
  const pod = new FakePod();
  const watch = pod.watch("c");
  pod.kill(undefined);
  assert.equal(watch.check(), true);
  pod.remove("c");
  watch.settle(true);
  assert.deepEqual(pod.told, []);
});

test("v2: a kill that is told of one container of a shim is no other's", () => {
  const pod = new FakePod();
  const [greedy, other] = [pod.watch("greedy"), pod.watch("other")];
  pod.kill("greedy");
  greedy.settle(true);
  pod.remove("other");
  other.settle(true);
  assert.deepEqual(pod.told, ["greedy"]);
});

test("v2: two containers of one pod that are killed and gone at once are both told of", () => {
  const pod = new FakePod();
  const [first, second] = [pod.watch("first"), pod.watch("second")];
  for (const name of ["first", "second"]) {
    pod.kill(name);
    pod.remove(name);
  }
  first.settle(true);
  second.settle(true);
  assert.deepEqual(pod.told, ["first", "second"]);
});

test("v2: a kill between the looks at both counters is noticed, and not forgotten", () => {
  const pod = new FakePod();
  const watch = pod.watch("c");
  const { openRead } = pod.io.fds;
  let looks = 0;
  pod.io.fds.openRead = (path) => {
    const fd = openRead(path);
    if (path === "/pod/c/memory.events" && looks++ === 0) pod.kill(undefined);
    return fd;
  };
  watch.check();
  pod.remove("c");
  watch.settle(true);
  assert.deepEqual(pod.told, ["c"]);
});

test("v2: the next shim tells of a kill whose group went while there was none", () => {
  const pod = new FakePod();
  const first = pod.watch("c");
  const { counts } = first;
  first.close();
  pod.kill("c");
  pod.remove("c");
  const next = pod.watch("c", counts);
  next.settle(false);
  assert.deepEqual(pod.told, []);
  next.settle(true);
  assert.deepEqual(pod.told, ["c"]);
  next.close();
  assert.equal(pod.io.open.size, 0);
});

test("v1: a group that goes with its counter: what the eventfd has counted beside the removal is an OOM", () => {
  for (const wake of [false, true]) {
    const io = new FakeIo();
    io.contents.set(V1.counter, control(0));
    let told = 0;
    const watch = new OomWatch(V1, io, () => told++);
    io.signals = 2;
    io.contents.delete(V1.counter);
    if (wake) for (const { ready } of [...io.watched.values()]) ready();
    assert.equal(told, 0);
    watch.settle(true);
    watch.settle(true);
    assert.equal(told, 1, `woken: ${wake}`);
  }
});

test("v1: an OOM that was told of is not told again when the group goes", () => {
  const io = new FakeIo();
  io.contents.set(V1.counter, control(0));
  let told = 0;
  const watch = new OomWatch(V1, io, () => told++);
  io.notify();
  assert.equal(told, 1);
  io.signals = 1;
  io.contents.delete(V1.counter);
  watch.settle(true);
  assert.equal(told, 1);
});
