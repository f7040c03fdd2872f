// `holdfast shims`: every shim on the host, whether it answers and how fast. All are asked at once, so that a hung one
// delays nobody.
import type { Command } from "commander";
import { type ContainerState, type Probe, probe } from "../shims/probe.ts";
import { type MemoryUse, memoryOf } from "../shims/proc.ts";
import { findShims, type ShimProcess } from "../shims/processes.ts";
import { bytes, duration } from "../text/units.ts";
import { commonFlags, examples, type Settings, settingsOf } from "./options.ts";

export function addShims(program: Command): void {
  const command = program
    .command("shims")
    .description("list every shim on this host, of whatever daemon; needs no daemon");
  commonFlags(command, { daemon: false }).option("-q, --quiet", "only ids, and nobody is asked");
  examples(
    command,
    ["holdfast shims", "all shims, with their memory and how fast they answer"],
    ["holdfast shims -n k8s.io --json", "those of one namespace, for a program"],
    ["holdfast shims --timeout 200ms", "call a shim hung after 200 ms rather than 2 s"],
  );
  command.action(async () => {
    const settings = settingsOf(command);
    const wanted = findShims(settings.screen.json ? "whole" : "quick").filter(
      ({ namespace }) => !settings.namespaceGiven || namespace === settings.namespace,
    );
    if (command.opts<{ quiet?: boolean }>().quiet === true) {
      for (const { id } of wanted) settings.screen.line(id);
      return;
    }
    const probed = await askAll(wanted, settings.timeoutMs);
    if (settings.screen.json) settings.screen.document(probed.map(describe));
    else show(settings, probed);
  });
}

interface Probed {
  readonly shim: ShimProcess;
  readonly probe: Probe;
  readonly memory: MemoryUse | undefined;
}

/** Each has its own deadline, so that one that hangs delays nobody. */
async function askAll(shims: readonly ShimProcess[], timeoutMs: number): Promise<Probed[]> {
  const asked: Promise<Probed>[] = [];
  for (const shim of shims) {
    asked.push(ask(shim, timeoutMs));
    // It is asked before the next is connected to: so it need not be woken twice.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return Promise.all(asked);
}

async function ask(shim: ShimProcess, timeoutMs: number): Promise<Probed> {
  const answer = await probe(shim, timeoutMs);
  // The kernel takes its time to add that up, and most of the others have not answered yet.
  return { shim, probe: answer, memory: memoryOf(shim.pid) };
}

/** One shim as JSON. */
function describe({ shim, probe, memory }: Probed): Record<string, unknown> {
  const { stat, sockets, socket, ...rest } = shim;
  return {
    ...rest,
    parent: stat.parent,
    state: stat.state,
    ageMs: Math.round(stat.ageMs),
    rssBytes: memory?.rssBytes ?? null,
    privateBytes: memory?.privateBytes ?? null,
    socket: socket ?? null,
    sockets,
    answers: probe.answers,
    answerMs: probe.ms ?? null,
    api: probe.api ?? null,
    error: probe.error ?? null,
    containers: probe.containers,
  };
}

function show({ screen }: Settings, probed: readonly Probed[]): void {
  const { colors } = screen;
  const head = ["ID", "NAMESPACE", "PID", "SHIM", "AGE", "RSS", "PRIVATE", "CONTAINERS", "ANSWERS"];
  const rows = probed.map(({ shim, probe, memory }) => [
    shim.id,
    shim.namespace,
    String(shim.pid),
    shim.kind,
    duration(shim.stat.ageMs),
    bytes(memory?.rssBytes),
    bytes(memory?.privateBytes),
    containersText(shim, probe.containers),
    probe.answers ? colors.green(duration(probe.ms)) : colors.red(`no: ${probe.error}`),
  ]);
  screen.table(head, rows);
  if (rows.length === 0) screen.note("no shim runs on this host (or you may not see it: root sees all)");
}

/** "running" for the one container that the shim is named after; "3: 2 running, 1 stopped" for a pod. */
function containersText(shim: ShimProcess, containers: readonly ContainerState[]): string {
  if (containers.length === 0) return shim.bundleRemoved ? "none, bundle gone" : "none";
  const [first] = containers;
  if (containers.length === 1 && first?.id === shim.id) return first.status;
  const counts = new Map<string, number>();
  for (const { status } of containers) counts.set(status, (counts.get(status) ?? 0) + 1);
  return `${containers.length}: ${[...counts].map(([status, count]) => `${count} ${status}`).join(", ")}`;
}
