// The file of the state where descriptors or room run out: what has changed is in it before anything of it can be seen, or as soon as that can be.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { readState, StateLog } from "../../src/platform/state-log.ts";
import { recordBatch } from "../harness/state-file.ts";

type Host = ConstructorParameters<typeof StateLog>[0];

/** Files in memory, of which no further one can be opened, or written to, if `spare` or `room` says so. */
class Machine {
  spare = Number.POSITIVE_INFINITY;
  /** Bytes that a write may have. */
  room = Number.POSITIVE_INFINITY;
  /** Whether the disk is full, where the files with names are. */
  isDiskFull = false;
  /** How many files have been begun. */
  begun = 0;
  /** To be called before anything is closed. */
  beforeClose: () => void = () => {};
  readonly #open = new Map<number, { bytes: Buffer }>();
  readonly #names = new Map<string, { bytes: Buffer }>();
  #next = 100;
  #timers: (() => void)[] = [];

  /** Ends a turn of the loop. Returns how many timers were due. */
  turn(): number {
    const due = this.#timers;
    this.#timers = [];
    for (const fire of due) fire();
    return due.length;
  }

  #opened(): number {
    if (this.spare-- <= 0) throw new Error("Too many open files");
    this.begun++;
    this.#open.set(++this.#next, { bytes: Buffer.alloc(0) });
    return this.#next;
  }

  #file(fd: number): { bytes: Buffer } {
    const file = this.#open.get(fd);
    assert.ok(file !== undefined, `descriptor ${fd} is not open`);
    return file;
  }

  readonly host = {
    text: {
      encode: (text: string) => new TextEncoder().encode(text),
      decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes),
    },
    sha256: (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex"),
    recordBatch,
    clock: {
      after: (_ms: number, fire: () => void) => {
        this.#timers.push(fire);
        return { cancel() {} };
      },
    },
    fds: {
      memoryFile: () => this.#opened(),
      create: (path: string) => {
        const fd = this.#opened();
        this.#names.set(path, this.#file(fd));
        return fd;
      },
      write: (fd: number, bytes: Uint8Array) => {
        const file = this.#file(fd);
        if (this.isDiskFull && [...this.#names.values()].includes(file)) throw new Error("No space left");
        const taken = bytes.subarray(0, this.room);
        file.bytes = Buffer.concat([file.bytes, taken]);
        return taken.length;
      },
      duplicateTo: (from: number, to: number) => void this.#open.set(to, this.#file(from)),
      close: (fd: number) => {
        this.beforeClose();
        this.#file(fd);
        this.#open.delete(fd);
        this.spare++;
      },
    },
    files: {
      rename: (from: string, to: string) => {
        const file = this.#names.get(from);
        assert.ok(file !== undefined);
        this.#names.delete(from);
        this.#names.set(to, file);
      },
      remove: (path: string) => void this.#names.delete(path),
      readBytes: (path: string) =>
        (this.#names.get(path) ?? this.#open.get(Number(path)))?.bytes ?? Buffer.alloc(0),
    },
  } as unknown as Host & Parameters<typeof readState>[0];

  /** The records in a file, by its name or descriptor. */
  records(path: string): Record<string, string> {
    return Object.fromEntries(
      [...readState(this.host, path, true)].map(([key, value]) => [key, String(value)]),
    );
  }

  get isNamed(): boolean {
    return this.#names.has("state");
  }

  get openFiles(): number {
    return this.#open.size;
  }
}

const LARGE = "x".repeat(20_000);
/** Where the keeper holds the file. */
const FD = 3;

function begun(path = ""): { machine: Machine; log: StateLog; open: number } {
  const machine = new Machine();
  const log = new StateLog(machine.host);
  log.open(FD, path);
  log.put("first", () => "1");
  log.flush();
  return { machine, log, open: machine.openFiles };
}

for (const path of ["", "state"]) {
  const where = path === "" ? "in memory" : "with a name";
  test(`a file ${where} goes on where there is no descriptor to write it anew, and is written anew later`, () => {
    const { machine, log, open } = begun(path);
    machine.spare = 0;
    for (let round = 0; round < 10; round++) {
      log.put("large", () => `${round}${LARGE}`);
      log.flush();
      assert.deepEqual(machine.records(path || String(FD)), { first: "1", large: `${round}${LARGE}` });
    }
    log.remove("large");
    machine.spare = 1;
    log.put("last", () => "2");
    log.flush();
    assert.deepEqual(machine.records(path || String(FD)), { first: "1", last: "2" });
    assert.ok(
      machine.host.files.readBytes(path || String(FD), 0).length < LARGE.length,
      "it was written anew",
    );
    assert.equal(machine.openFiles, open);
    assert.equal(machine.isNamed, path !== "");
  });

  test(`a file ${where} whose last batch was cut short is written anew as soon as there is a descriptor`, () => {
    const { machine, log, open } = begun(path);
    Object.assign(machine, { spare: 0, room: 3 });
    log.put("cut", () => "short");
    log.flush();
    machine.room = Number.POSITIVE_INFINITY;
    // Behind what is torn nobody reads.
    log.put("later", () => "2");
    log.flush();
    machine.spare = 1;
    log.flush();
    assert.deepEqual(machine.records(path || String(FD)), { first: "1", cut: "short", later: "2" });
    assert.equal(machine.openFiles, open);
  });
}

test("where the disk is full the state is written to memory once, though closing what was begun there writes down what has changed", () => {
  const { machine, log, open } = begun("state");
  machine.beforeClose = () => log.flush();
  machine.isDiskFull = true;
  const before = machine.begun;
  log.put("large", () => LARGE);
  log.flush();
  assert.equal(machine.begun, before + 2, "one on the disk, one in memory");
  assert.deepEqual(machine.records(String(FD)), { first: "1", large: LARGE });
  assert.equal(machine.openFiles, open);
});

test("what nobody waits for is written when each turn is over, by one timer whatever is written before", () => {
  const { machine, log } = begun();
  machine.turn();
  for (const turn of ["one", "two", "three"]) {
    log.put("before", () => turn);
    log.flush();
    log.put("after", () => turn);
    log.changed("before");
    assert.notEqual(machine.records(String(FD)).after, turn);
    assert.equal(machine.turn(), 1);
    assert.deepEqual(machine.records(String(FD)), { first: "1", before: turn, after: turn });
  }
  assert.equal(machine.turn(), 0);
});
