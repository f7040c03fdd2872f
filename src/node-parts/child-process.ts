// node:child_process as far as the command line uses it: programs that go on by themselves, with at most a pipe to their stdin.
import * as host from "holdfast:host";
import { EventEmitter } from "node:events";
import { goOnInNode } from "./go-on.ts";
import { Socket } from "./net.ts";

interface SpawnOptions {
  readonly detached?: boolean;
  readonly cwd?: string;
  readonly stdio?: readonly (string | number)[];
}

class Child extends EventEmitter {
  readonly pid: number;
  readonly stdin: Socket | null;

  constructor(pid: number, stdin: Socket | null) {
    super();
    this.pid = pid;
    this.stdin = stdin;
  }

  unref(): void {}
}

export function spawn(file: string, words: readonly string[], options: SpawnOptions = {}): Child {
  const { detached = false, cwd, stdio = [] } = options;
  const [input, ...outputs] = stdio;
  if (input !== "pipe" || outputs.some((each) => each !== "ignore"))
    goOnInNode(`a program with ${stdio.join()}`);
  const [readEnd, writeEnd] = host.pipe();
  host.setNonBlocking(readEnd, false);
  try {
    const { pid, pidfd } = host.spawn({
      argv: [file, ...words],
      file,
      fds: [readEnd, ...outputs.map(() => -1)],
      newSession: detached,
      ...(cwd !== undefined && { cwd }),
    });
    host.close(pidfd);
    return new Child(pid, new Socket({ fd: writeEnd, readable: false }));
  } finally {
    host.close(readEnd);
  }
}

/** Commander's, for verbs that are programs of their own: we have none. */
export function execFileSync(): never {
  return goOnInNode("a program that is waited for");
}
