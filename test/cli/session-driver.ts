// A session in front of a process that a test plays: calls are told on stderr, a line each, and lines on stdin answer. Run by session.test.ts.
import { createWriteStream, openSync } from "node:fs";
import { createInterface } from "node:readline";
import { Fifos } from "../../src/cli/session/fifos.ts";
import { Session } from "../../src/cli/session/session.ts";
import type { Exit, TaskPort } from "../../src/cli/session/task-port.ts";

const terminal = process.argv[2] === "terminal";

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

const never = (): Promise<never> => new Promise(() => {});
let end: (exit: Exit) => void = () => {};
const exit = new Promise<Exit>((resolve) => {
  end = resolve;
});

/** Sizes are not answered before the test lets them. */
let answerSizes: () => void = () => {};
const held = new Promise<void>((resolve) => {
  answerSizes = resolve;
});
/** How many kills fail from now on. */
let refusals = 0;
process.on("SIGWINCH", () => say("SIGWINCH"));

const task: TaskPort = {
  id: "driven",
  state: never,
  exec: never,
  start: never,
  delete: never,
  wait: () => exit,
  async kill(_execId, signal) {
    say(`kill ${signal}`);
    if (refusals-- > 0) throw new Error("refused");
  },
  async resize(_execId, columns, rows) {
    say(`resize ${columns}x${rows} begins`);
    await held;
    say(`resize ${columns}x${rows} ends`);
  },
  async closeInput() {
    say("closeInput");
  },
};

const fifos = await Fifos.create({ stdin: false, terminal });
const session = new Session({
  task,
  execId: "",
  fifos,
  detachKeys: [],
  signalProxy: true,
  endsWithReader: true,
});
// Opened at once: the session has the reading end, and once it has let go of that an open that waits for a reader would hold up our end.
const output = createWriteStream("", { fd: openSync(fifos.paths.stdout, "w") });
say("stands");

const commands: Readonly<Record<string, (rest: string) => unknown>> = {
  begin: () => session.begin(),
  write: (rest) => output.write(rest),
  close: () => output.end(),
  answer: () => answerSizes(),
  refuse: (rest) => {
    refusals = Number(rest);
  },
  exit: (rest) => end({ status: Number(rest), at: undefined }),
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const [name = "", ...rest] = line.split(" ");
  commands[name]?.(rest.join(" "));
  say(`done ${name}`);
});
const outcome = await session.outcome(exit);
say(`outcome ${JSON.stringify(outcome)}`);
process.exit(0);
