// `holdfast ps`, `inspect`, `logs`, `ns`: what there is.
import { statSync } from "node:fs";
import type { Command } from "commander";
import type { Container } from "../api/generated/containers.ts";
import type { Process } from "../api/generated/process.ts";
import { nsFromTimestamp } from "../api/timestamp.ts";
import { getContainer, LOG_LABEL, orNone, processOf, specOf } from "./container-record.ts";
import type { DaemonClient } from "./daemon-client.ts";
import { DaemonTask } from "./daemon-task.ts";
import { daemonVerb, forEach, type Visit } from "./daemon-verb.ts";
import { copyFrom, follow, pathOfUri, tailOffset } from "./log-files.ts";
import { Problem } from "./problem.ts";
import { findShims, type ShimProcess } from "./shim-processes.ts";
import { exitOf } from "./shim-task.ts";
import { exitText } from "./signals.ts";
import { statusName } from "./task-status.ts";
import { duration, msSince, nsToIso } from "./units.ts";
import { countArgument, examples } from "./verb-options.ts";

const COMMAND_WIDTH = 40;

export function addListVerbs(program: Command): void {
  const ps = daemonVerb(program, "ps", "list the containers of the daemon", psVerb)
    .option("-a, --all", "those that have ended or never ran, too")
    .option("-q, --quiet", "only ids")
    .option("-A, --all-namespaces", "of every namespace");
  examples(
    ps,
    ["holdfast ps -a", "all of this namespace"],
    ["holdfast delete $(holdfast ps -aq)", "clean up"],
  );

  const inspect = daemonVerb(
    program,
    "inspect <id...>",
    "show all that is known of containers, as JSON",
    inspectVerb,
  );
  examples(inspect, ["holdfast inspect web | jq .task.exit", "how did it end?"]);

  const logs = daemonVerb(
    program,
    "logs <id>",
    "show what a container of run -d or start has printed",
    logsVerb,
  )
    .option("-f, --follow", "go on until it ends")
    .option("--tail <lines>", "begin with the last lines", countArgument);
  examples(logs, ["holdfast logs -f --tail 20 web", "the last lines, and what comes"]);

  const ns = daemonVerb(program, "ns [verb] [name...]", "list, create or delete namespaces", nsVerb);
  examples(
    ns,
    ["holdfast ns", "list them, with their containers"],
    ["holdfast ns create test", "make one"],
    ["holdfast ns delete test", "remove an empty one"],
  );
}

interface Row {
  readonly container: Container;
  readonly task: Process | undefined;
  readonly namespace: string;
}

async function rowsOf(daemon: DaemonClient): Promise<Row[]> {
  const [{ containers }, { tasks }] = await Promise.all([
    daemon.containers.list({ filters: [] }),
    daemon.tasks.list({ filter: "" }),
  ]);
  // Older daemons leave containerId empty.
  const byId = new Map(tasks.map((task) => [task.containerId || task.id, task]));
  return containers.map((container) => ({
    container,
    task: byId.get(container.id),
    namespace: daemon.namespace,
  }));
}

async function psVerb({ daemon, command, settings: { screen } }: Visit): Promise<void> {
  const { all, quiet, allNamespaces } = command.opts<{
    all?: boolean;
    quiet?: boolean;
    allNamespaces?: boolean;
  }>();
  const rows =
    allNamespaces === true
      ? (
          await Promise.all((await namespaceNames(daemon)).map((name) => rowsOf(daemon.inNamespace(name))))
        ).flat()
      : await rowsOf(daemon);
  const shown = rows.filter(
    ({ task }) => all === true || (task !== undefined && statusName(task.status) !== "stopped"),
  );
  if (screen.json) {
    screen.document(shown.map(describeRow));
    return;
  }
  if (quiet === true) {
    for (const { container } of shown) screen.line(container.id);
    return;
  }
  const head = [...(allNamespaces ? ["NAMESPACE"] : []), "ID", "STATUS", "PID", "AGE", "SHIM", "COMMAND"];
  screen.table(
    head,
    shown.map((row) => [
      ...(allNamespaces ? [row.namespace] : []),
      row.container.id,
      statusText(row.task),
      row.task === undefined || row.task.pid === 0 ? "-" : String(row.task.pid),
      row.container.createdAt === undefined
        ? "-"
        : duration(msSince(nsFromTimestamp(row.container.createdAt))),
      (row.container.runtime?.name ?? "-").split(".").slice(-2).join("-"),
      clip(processOf(specOf(row.container)).args.join(" ")),
    ]),
  );
}

function describeRow({ container, task, namespace }: Row): Record<string, unknown> {
  return {
    id: container.id,
    namespace,
    status: task === undefined ? "none" : statusName(task.status),
    pid: task?.pid ?? 0,
    exit: describeExit(task),
    createdAt: container.createdAt && nsToIso(nsFromTimestamp(container.createdAt)),
    runtime: container.runtime?.name,
    image: container.image,
    command: processOf(specOf(container)).args,
    labels: container.labels,
  };
}

function describeExit(task: Process | undefined): { status: number; at: string | undefined } | null {
  if (task === undefined || statusName(task.status) !== "stopped") return null;
  const { status, at } = exitOf(task.exitStatus, task.exitedAt);
  return { status, at: nsToIso(at) };
}

function statusText(task: Process | undefined): string {
  if (task === undefined) return "none";
  const name = statusName(task.status);
  if (name !== "stopped") return name;
  const { status, at } = exitOf(task.exitStatus, task.exitedAt);
  return `ended ${exitText(status)}${at === undefined ? "" : `, ${duration(msSince(at))} ago`}`;
}

async function inspectVerb({ daemon, words, settings: { screen } }: Visit): Promise<void> {
  const shims = findShims();
  const found: unknown[] = [];
  await forEach(words, async (id) => {
    found.push(await inspectOne(daemon, id, shims));
  });
  screen.document(found);
}

async function inspectOne(daemon: DaemonClient, id: string, shims: readonly ShimProcess[]): Promise<unknown> {
  const container = await getContainer(daemon, id);
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  const shim = shims.find((each) => each.namespace === daemon.namespace && each.containers.includes(id));
  const { spec, ...record } = container;
  return {
    ...describeRow({ container, task, namespace: daemon.namespace }),
    updatedAt: record.updatedAt && nsToIso(nsFromTimestamp(record.updatedAt)),
    log: container.labels[LOG_LABEL] ?? null,
    task: task && {
      status: statusName(task.status),
      pid: task.pid,
      exit: describeExit(task),
      terminal: task.terminal,
      stdin: task.stdin,
      stdout: task.stdout,
      stderr: task.stderr,
    },
    shim: shim && {
      pid: shim.pid,
      kind: shim.kind,
      executable: shim.executable,
      bundle: shim.bundle,
      sockets: shim.sockets,
      rssBytes: shim.memory?.rssBytes,
      privateBytes: shim.memory?.privateBytes,
    },
    snapshotter: record.snapshotter,
    snapshotKey: record.snapshotKey,
    spec: spec && specOf(container),
  };
}

async function logsVerb({ daemon, words, command }: Visit): Promise<void> {
  const [id = ""] = words;
  const options = command.opts<{ follow?: boolean; tail?: number }>();
  const container = await getContainer(daemon, id);
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  const path = pathOfUri(task?.stdout ?? "") ?? container.labels[LOG_LABEL];
  if (path === undefined || statSync(path, { throwIfNoEntry: false }) === undefined) {
    throw new Problem(
      `${id} has no log: only containers of "run -d" and "start" have one; "attach ${id}" shows what comes of others`,
    );
  }
  const from = options.tail === undefined ? 0 : await tailOffset(path, options.tail);
  const runs = task !== undefined && statusName(task.status) !== "stopped";
  if (options.follow === true && runs) await follow(path, from, new DaemonTask(daemon, id).wait(""));
  else await copyFrom(path, from);
}

async function nsVerb({ daemon, words, settings: { screen } }: Visit): Promise<void> {
  const [verb = "list", ...names] = words;
  if (verb === "create") {
    await forEach(
      names,
      async (name) => void (await daemon.namespaces.create({ namespace: { name, labels: {} } })),
    );
  } else if (verb === "delete") {
    await forEach(names, async (name) => void (await daemon.namespaces.delete({ name })));
  } else if (verb === "list") {
    const { namespaces } = await daemon.namespaces.list({ filter: "" });
    const counted = await Promise.all(
      namespaces.map(async ({ name, labels }) => {
        const rows = await rowsOf(daemon.inNamespace(name));
        return {
          name,
          labels,
          containers: rows.length,
          tasks: rows.filter(({ task }) => task !== undefined).length,
        };
      }),
    );
    if (screen.json) screen.document(counted);
    else
      screen.table(
        ["NAME", "CONTAINERS", "TASKS", "LABELS"],
        counted.map(({ name, containers, tasks, labels }) => [
          name,
          String(containers),
          String(tasks),
          Object.entries(labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(","),
        ]),
      );
  } else throw new Problem(`ns knows list, create and delete, not ${verb}`);
}

export async function namespaceNames(daemon: DaemonClient): Promise<string[]> {
  const { namespaces } = await daemon.namespaces.list({ filter: "" });
  return namespaces.map(({ name }) => name).sort();
}

function clip(text: string): string {
  return text.length > COMMAND_WIDTH ? `${text.slice(0, COMMAND_WIDTH - 1)}…` : text;
}
