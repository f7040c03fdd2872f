// `holdfast shim … dump`: all that can be learned of a shim, from itself where it is ours and answers, and from /proc in any case.
import { statSync } from "node:fs";
import type { ShimDump } from "../../api/dump.ts";
import { Code } from "../../ttrpc/status.ts";
import { callCode, errorText } from "../text/problem.ts";
import { ShimConnection } from "./connection.ts";
import { childrenOfShim, keeperOf } from "./keeper.ts";
import {
  argumentsOf,
  childrenOf,
  isOfOurs,
  listeningSockets,
  type MemoryUse,
  memoryOf,
  type OpenFile,
  openFilesOf,
  sleepsIn,
  socketInode,
  stackOf,
  statOf,
  syscallOf,
  threadsOf,
} from "./proc.ts";
import type { ShimProcess } from "./processes.ts";
import { type ShimTarget, stoppedHint } from "./target.ts";

/** runc starts itself anew, and that once more. */
const RUNTIME_DEPTH = 3;

export interface DumpedFile extends OpenFile {
  /** What the shim uses it for, as far as one can see: "stdout of web". */
  readonly role: string;
  /** Unread bytes; undefined where the shim does not tell. */
  readonly unread: number | undefined;
}

export interface DumpedChild {
  readonly pid: number;
  readonly parent: number;
  readonly state: string;
  readonly ageMs: number;
  readonly command: string;
  /** The kernel function that its main thread sleeps in. */
  readonly sleepsIn: string | undefined;
  /** The system call that it is in, as /proc/PID/syscall has it: number and arguments. */
  readonly syscall: string | undefined;
  /** For a program on the host, such as a runtime that hangs: where its threads are in the kernel, each stack once. Needs root. */
  readonly stacks: readonly DumpedStack[];
}

export interface DumpedStack {
  readonly threads: readonly number[];
  readonly frames: readonly string[];
}

export interface Dump {
  readonly shim: ShimProcess | undefined;
  /** The pid of its keeper; undefined if it has none. */
  readonly keeper: number | undefined;
  readonly memory: MemoryUse | undefined;
  readonly socket: string;
  /** Milliseconds to its first answer; undefined if there was none. */
  readonly answerMs: number | undefined;
  /** Why there is no answer, or nothing of its inside. */
  readonly silence: string | undefined;
  /** The kernel function that its main thread sleeps in. */
  readonly sleepsIn: string | undefined;
  readonly inside: ShimDump | undefined;
  readonly children: readonly DumpedChild[];
  readonly files: readonly DumpedFile[];
}

/** Never throws for a shim that is hung or foreign: then there is less in the dump, and it says why. */
export async function dumpShim(
  target: ShimTarget,
  container: string | undefined,
  timeoutMs: number,
): Promise<Dump> {
  const { shim, socket } = target;
  const asked = await ask(target, container ?? shim?.id ?? "", timeoutMs);
  const pid = shim?.pid ?? asked.inside?.pid;
  const children = pid === undefined ? [] : familyOf(childrenOfShim(pid));
  const files = pid === undefined ? [] : describeFiles(pid, children, asked.inside, socket);
  const memory = pid === undefined ? undefined : memoryOf(pid);
  return {
    shim,
    keeper: pid === undefined ? undefined : keeperOf(pid),
    memory,
    socket,
    ...asked,
    sleepsIn: pid === undefined ? undefined : sleepsIn(pid),
    children,
    files,
  };
}

type Asked = Pick<Dump, "answerMs" | "silence" | "inside">;

async function ask({ socket, shim }: ShimTarget, id: string, timeoutMs: number): Promise<Asked> {
  const start = performance.now();
  let answerMs: number | undefined;
  try {
    const connection = await ShimConnection.open(socket, id, timeoutMs);
    answerMs = performance.now() - start;
    try {
      return { answerMs, silence: undefined, inside: await connection.inside() };
    } finally {
      connection.close();
    }
  } catch (error) {
    const foreign = callCode(error) === Code.UNIMPLEMENTED;
    return {
      answerMs,
      silence: foreign
        ? "this kind of shim does not tell what it is doing"
        : `${errorText(error)}${stoppedHint(shim)}`,
      inside: undefined,
    };
  }
}

/** The children, and below a program on the host what it has started: a runtime waits for its own. */
function familyOf(children: readonly number[], depth = RUNTIME_DEPTH): DumpedChild[] {
  return children.flatMap((child) => {
    const described = describeChild(child);
    if (described === undefined) return [];
    return [described, ...(depth > 0 && isOfOurs(child) ? familyOf(childrenOf(child), depth - 1) : [])];
  });
}

function describeChild(pid: number): DumpedChild | undefined {
  const stat = statOf(pid);
  if (stat === undefined) return undefined;
  const { parent, state, ageMs } = stat;
  const command = argumentsOf(pid).join(" ");
  const stacks = isOfOurs(pid) ? stacksOf(pid) : [];
  return { pid, parent, state, ageMs, command, sleepsIn: sleepsIn(pid), syscall: syscallOf(pid), stacks };
}

/** Threads that wait at the same place come together: Go's runtime has many. */
function stacksOf(pid: number): DumpedStack[] {
  const found = new Map<string, number[]>();
  for (const thread of threadsOf(pid)) {
    const stack = stackOf(pid, thread);
    if (stack !== "") found.set(stack, [...(found.get(stack) ?? []), thread]);
  }
  return [...found].map(([stack, threads]) => ({ threads, frames: stack.split("\n") }));
}

/** A pipe is known by the child that has its other end as stdin, stdout or stderr; a fifo by its name. */
function describeFiles(
  pid: number,
  children: readonly DumpedChild[],
  inside: ShimDump | undefined,
  socket: string,
): DumpedFile[] {
  const names = new Map<number, string>();
  for (const { id, pid: init, execs } of inside?.containers ?? []) {
    names.set(init, id);
    for (const exec of execs) names.set(exec.pid, `exec ${exec.id} of ${id}`);
  }
  const owners = new Map<string, string>();
  for (const child of children) {
    for (const { fd, target } of openFilesOf(child.pid)) {
      if (fd > 2 || !target.startsWith("pipe:")) continue;
      owners.set(
        target,
        `${["stdin", "stdout", "stderr"][fd]} of ${names.get(child.pid) ?? `child ${child.pid}`}`,
      );
    }
  }
  const listeners = listeningSockets();
  return openFilesOf(pid).map(({ fd, target }) => {
    const paths = listeners.get(socketInode(target) ?? "") ?? [];
    const name = paths.find((path) => path === socket) ?? paths[0] ?? target;
    return {
      fd,
      target: name,
      role: owners.get(target) ?? roleByName(name, socket),
      unread: isFile(pid, fd) ? undefined : inside && (inside.fill[String(fd)] ?? 0),
    };
  });
}

/** What is left to read of a file is nobody's output that waits. */
function isFile(pid: number, fd: number): boolean {
  return statSync(`/proc/${pid}/fd/${fd}`, { throwIfNoEntry: false })?.isFile() === true;
}

function roleByName(target: string, socket: string): string {
  if (target === socket) return "takes calls";
  if (/-stdin$|\/stdin$/.test(target)) return "client's stdin";
  if (/-stdout$|\/stdout$/.test(target)) return "client's stdout";
  if (/-stderr$|\/stderr$/.test(target)) return "client's stderr";
  if (target.endsWith("/ptmx")) return "terminal";
  if (target.endsWith("/log")) return "log to the daemon";
  return "";
}
