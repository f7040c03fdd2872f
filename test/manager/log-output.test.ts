// A log that nobody reads: holdfastd goes on, keeps what has room, and says what it had to drop.
import assert from "node:assert/strict";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { LogOutput } from "../../src/manager/log-output.ts";
import { isSystemError } from "../../src/platform/platform.ts";
import { Running } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { FifoReader, makeFifo } from "../harness/fifo.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-log-output-"));
after(() => rmSync(directory, { recursive: true }));

const { O_RDWR, O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;

/** Runs `step` until it says that there is nothing more to do for now. */
function untilAgain(step: () => void): void {
  try {
    for (;;) step();
  } catch (error) {
    if (!isSystemError(error, "EAGAIN")) throw error;
  }
}

/** A fifo that nobody reads and that has no room left, and the end to read it by. */
function fullFifo(name: string): { path: string; reader: number } {
  const path = makeFifo(join(directory, name));
  const reader = openSync(path, O_RDWR | O_NONBLOCK);
  // The last one is short, so that no line of a log would fit either.
  for (const size of [65_536, 1]) untilAgain(() => writeSync(reader, "-".repeat(size)));
  return { path, reader };
}

/** What the fifo has now. */
function readAll(reader: number): string {
  const chunk = Buffer.alloc(65_536);
  let text = "";
  for (let size = -1; size !== 0; text += chunk.toString("latin1", 0, size)) size = readOnce(reader, chunk);
  return text;
}

/** Bytes that were read; 0 if there are none now. */
function readOnce(reader: number, into: Buffer): number {
  try {
    return readSync(reader, into);
  } catch (error) {
    if (isSystemError(error, "EAGAIN")) return 0;
    throw error;
  }
}

/** "line N" with what makes a line of it as long as one of the daemon's dumps. */
const line = (number: number): string => `line ${number} ${"x".repeat(1000)}\n`;
const numbers = (text: string): number[] =>
  [...text.matchAll(/line (\d+) x{1000}$/gm)].map(([, number]) => Number(number));

test("a daemon whose log's pipe is full starts, serves, and ends", async () => {
  const daemon = Daemon.prepare({ kind: "holdfastd" });
  after(() => daemon.close());
  const { path, reader } = fullFifo("daemon");
  const argv = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", 'exec "$@" 2>"$FIFO"', "sh", ...daemon.argv];
  const running = new Running(argv, { env: { ...daemon.env, FIFO: path }, timeoutMs: 3_600_000 });
  const client = await eventually("the daemon to serve", () => daemon.client().catch(() => undefined));
  await client.namespaces.create({ namespace: { name: "unread", labels: {} } });
  client.close();
  readAll(reader);
  await eventually("the lines that have waited", () => readAll(reader).includes('"msg":"serving"'));
  untilAgain(() => writeSync(reader, "-"));
  running.kill("SIGTERM");
  assert.equal((await running.exited).status, 0);
  closeSync(reader);
});

test("lines wait for a reader in bounds, come whole and in order, and how many were dropped is said", async () => {
  const { path, reader } = fullFifo("bounds");
  const fd = openSync(path, O_WRONLY);
  const lost: number[] = [];
  const output = new LogOutput(fd, (lines) => {
    lost.push(lines);
    output.write(`lost ${lines}\n`);
  });
  for (let number = 0; number < 2000; number++) output.write(line(number));
  let text = "";
  const little = Buffer.alloc(20_000);
  await eventually("all that was kept", () => {
    // So that lines are written in part.
    text += little.toString("latin1", 0, readOnce(reader, little));
    return lost.length > 0 && text.endsWith(`lost ${lost[0]}\n`);
  });
  const kept = numbers(text);
  assert.ok(kept.length > 100 && kept.length < 2000, String(kept.length));
  assert.deepEqual(
    kept,
    Array.from(kept, (_, index) => index),
    "the first ones, in order",
  );
  assert.deepEqual(lost, [2000 - kept.length]);
  output.write(line(2000));
  assert.deepEqual(numbers(readAll(reader)), [2000], "at once again");
  closeSync(fd);
  closeSync(reader);
});

test("a fifo whose reader goes away and comes back has what is said from then on", async () => {
  const path = makeFifo(join(directory, "back"));
  const holder = openSync(path, O_RDWR | O_NONBLOCK);
  const fd = openSync(path, O_WRONLY);
  closeSync(holder);
  const lost: number[] = [];
  const output = new LogOutput(fd, (lines) => lost.push(lines));
  output.write(line(0));
  const reader = openSync(path, O_RDONLY | O_NONBLOCK);
  output.write(line(1));
  assert.deepEqual(numbers(readAll(reader)), [1]);
  closeSync(reader);
  output.write(line(2));
  const next = new FifoReader(path);
  output.write(line(3));
  await next.until("the line after it is back", (text) => numbers(text).includes(3));
  assert.deepEqual(lost, [1, 1]);
  next.close();
  closeSync(fd);
});

/** Writes 900 lines at once to stderr, which is a socket: what Node makes of "pipe". */
const WRITER = `
import { LogOutput } from "./src/manager/log-output.ts";
const output = new LogOutput(2, () => {});
for (let number = 0; number < 900; number++) output.write("line " + number + " " + "x".repeat(1000) + "\\n");
process.stdout.write("written\\n");
process.stdin.resume();
`;

test("a socket that nobody reads, as a journal's, does not block either, and the lines come when it is read", async () => {
  const argv = ["node", "--import", "tsx", "--input-type=module", "--eval", WRITER];
  const writer = new Running(argv, { stdin: "pipe", rawStderr: true });
  await writer.printed(/written/);
  let text = "";
  writer.stderr.setEncoding("latin1").on("data", (chunk: string) => {
    text += chunk;
  });
  await eventually("all lines", () => numbers(text).length === 900);
  writer.stdin.end();
  assert.equal((await writer.exited).status, 0);
});
