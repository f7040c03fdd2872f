// A shim's dump as a person reads it: first what it is and whether it answers, then what it is at.
import type { ShimDump } from "../../api/dump.ts";
import type { Dump, DumpedChild } from "../shims/dump.ts";
import type { Screen } from "./screen.ts";
import { exitText } from "./signals.ts";
import { bytes, duration } from "./units.ts";

const STATES: Readonly<Record<string, string>> = {
  R: "running",
  S: "sleeping",
  D: "in an uninterruptible wait",
  T: "stopped by a signal",
  t: "stopped by a debugger",
  Z: "ended",
};

export function printDump(screen: Screen, dump: Dump): void {
  const { shim } = dump;
  const { colors } = screen;
  screen.fields([
    ["shim", shim && `${shim.id} (namespace ${shim.namespace}, ${shim.kind})`],
    ["pid", shim && `${shim.pid}, started ${duration(shim.stat.ageMs)} ago`],
    ["keeper", dump.keeper === undefined ? undefined : `pid ${dump.keeper}`],
    [
      "state",
      shim &&
        `${STATES[shim.stat.state] ?? shim.stat.state}${dump.sleepsIn === undefined ? "" : ` in ${dump.sleepsIn}`}`,
    ],
    [
      "memory",
      dump.memory && `${bytes(dump.memory.rssBytes)}, of which ${bytes(dump.memory.privateBytes)} private`,
    ],
    ["bundle", shim && `${shim.bundle}${shim.bundleRemoved ? " (removed)" : ""}`],
    ["socket", dump.socket],
    ["daemon", shim?.daemon],
    [
      "answers",
      dump.answerMs === undefined ? colors.red("no") : colors.green(`in ${duration(dump.answerMs)}`),
    ],
    ["note", dump.silence],
  ]);
  if (dump.inside !== undefined) printInside(screen, dump.inside);
  section(
    screen,
    "Children",
    ["PID", "STATE", "SLEEPS IN", "AGE", "COMMAND"],
    dump.children.map((child) => [
      String(child.pid),
      STATES[child.state] ?? child.state,
      child.sleepsIn ?? "",
      duration(child.ageMs),
      child.command,
    ]),
  );
  for (const child of dump.children) printStacks(screen, child);
  section(
    screen,
    "Descriptors",
    ["FD", "UNREAD", "WHAT", "ROLE"],
    dump.files.map((file) => [
      String(file.fd),
      file.unread === undefined || file.unread === 0 ? "" : colors.yellow(bytes(file.unread)),
      file.target,
      file.role,
    ]),
  );
}

function printStacks(screen: Screen, { pid, command, syscall, stacks }: DumpedChild): void {
  if (stacks.length === 0) return;
  screen.line();
  const call = syscall === undefined ? "" : `, in system call ${syscall.split(" ")[0]}`;
  screen.line(screen.colors.bold(`Where ${pid} is in the kernel${call}: ${command}`));
  for (const { threads, frames } of stacks) {
    screen.line(`threads ${threads.join(" ")}`);
    for (const frame of frames) screen.line(`  ${frame}`);
  }
}

function printInside(screen: Screen, inside: ShimDump): void {
  const { colors } = screen;
  // Our own call is always under way.
  const running = inside.running.filter(({ method }) => method !== "Dump");
  section(
    screen,
    "Calls under way",
    ["CALL", "FOR"],
    running.map(({ method, ms }) => [method, duration(ms)]),
  );
  section(
    screen,
    "Last calls",
    ["CALL", "TOOK", "AGO", "ERROR"],
    inside.calls.map((call) => [call.method, duration(call.ms), duration(call.ago), colors.red(call.error)]),
  );
  const processes = inside.containers.flatMap((container) => [
    { ...container, name: container.id },
    ...container.execs.map((exec) => ({ ...exec, name: `  exec ${exec.id}` })),
  ]);
  section(
    screen,
    "Processes",
    ["ID", "STATE", "PID", "EXIT", "DROPPED", "WAITING"],
    processes.map((process) => [
      process.name,
      process.state,
      String(process.pid),
      process.status === undefined ? "" : exitText(process.status),
      process.output === undefined ? "" : bytes(process.output.dropped),
      process.output === undefined ? "" : bytes(process.output.waiting),
    ]),
  );
  section(
    screen,
    "Events that the daemon has not taken",
    ["TOPIC"],
    inside.events.map((topic) => [topic]),
  );
}

function section(
  screen: Screen,
  title: string,
  head: readonly string[],
  rows: readonly (readonly string[])[],
): void {
  screen.line();
  screen.line(`${screen.colors.bold(title)}${rows.length === 0 ? ": none" : ""}`);
  if (rows.length > 0) screen.table(head, rows);
}
