// `holdfast ps`, `logs`, `ns`: what there is.
import { statSync } from "node:fs";
import { type Command, Option } from "commander";
import type { Container } from "../../api/generated/containers.ts";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { DaemonTask } from "../containers/daemon-task.ts";
import { podPlaceOf, podText } from "../containers/names.ts";
import { getContainer, logOf, orNone, processIn } from "../containers/record.ts";
import { describeRow, type Row, rowsOf, statusText } from "../containers/rows.ts";
import { copyFrom, follow, pathOfUri, tailOffset } from "../session/log-files.ts";
import { clip, printable } from "../text/printable.ts";
import { Problem, USAGE } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import { duration, msSince } from "../text/units.ts";
import { daemonVerb, failed, firstContainer, type Visit } from "./daemon-verb.ts";
import { countArgument, examples } from "./options.ts";

const COMMAND_WIDTH = 40;

export function addListVerbs(program: Command): void {
  const ps = daemonVerb(program, "ps", "list the containers of the daemon", psVerb)
    .option("-a, --all", "those that have ended or never ran, too")
    .option("-q, --quiet", "only ids")
    .option("-A, --all-namespaces", "of every namespace")
    .option("-w, --wide", "with image, pod and the whole command")
    .addOption(new Option("--no-trunc", "the whole command").hideHelp())
    .alias("ls");
  examples(
    ps,
    ["holdfast ps -a", "all of this namespace"],
    ["holdfast delete $(holdfast ps -aq)", "clean up"],
  );

  const logs = daemonVerb(
    program,
    "logs <id>",
    "show what a container of run -d or start has printed",
    logsVerb,
  )
    .option("-f, --follow", "go on until it ends")
    .option("--tail <lines>", "begin with the last lines", countArgument);
  examples(logs, ["holdfast logs -f --tail 20 web", "the last lines, and what comes"]);

  const ns = daemonVerb(program, "ns [verb] [name...]", "list, create or delete namespaces", nsVerb).option(
    "-q, --quiet",
    "only names",
  );
  examples(
    ns,
    ["holdfast ns", "list them, with their containers"],
    ["holdfast ns create test", "make one"],
    ["holdfast ns delete test", "remove an empty one"],
  );
}

interface PsFlags {
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly allNamespaces?: boolean;
  readonly wide?: boolean;
  readonly trunc?: boolean;
}

async function psVerb(visit: Visit): Promise<void> {
  const { daemon, command, settings } = visit;
  const { screen } = settings;
  const { all, quiet, allNamespaces, wide, trunc } = command.opts<PsFlags>();
  if (allNamespaces !== true) await demandNamespace(visit);
  const places =
    allNamespaces === true
      ? (await namespaceNames(daemon)).map((name) => daemon.inNamespace(name))
      : [daemon];
  const shown = (await Promise.all(places.map((place) => rowsOf(place, all === true, screen.json)))).flat();
  if (screen.json) {
    screen.document(shown.map(describeRow));
    return;
  }
  if (quiet === true) {
    for (const { container } of shown) screen.line(container.id);
    return;
  }
  const columns = COLUMNS.filter(
    ({ when }) => when === undefined || (when === "namespaces" ? allNamespaces : wide) === true,
  );
  screen.table(
    columns.map(({ head }) => head),
    shown.map((row) => columns.map(({ cell }) => cell(row, wide === true || trunc === false))),
  );
}

interface Column {
  readonly head: string;
  readonly when?: "namespaces" | "wide";
  readonly cell: (row: Row, wide: boolean) => string;
}

const COLUMNS: readonly Column[] = [
  { head: "NAMESPACE", when: "namespaces", cell: ({ namespace }) => namespace },
  { head: "ID", cell: ({ container }) => container.id },
  { head: "POD", when: "wide", cell: ({ container }) => podCell(container) },
  { head: "STATUS", cell: statusText },
  { head: "PID", cell: ({ task }) => (task === undefined || task.pid === 0 ? "-" : String(task.pid)) },
  { head: "AGE", cell: ageCell },
  { head: "SHIM", cell: ({ container }) => (container.runtime?.name ?? "-").split(".").slice(-2).join("-") },
  { head: "IMAGE", when: "wide", cell: ({ container }) => container.image || "-" },
  {
    head: "COMMAND",
    cell: ({ container }, wide) => {
      const line = printable(processIn(container).args.join(" "));
      return wide ? line : clip(line, COMMAND_WIDTH);
    },
  },
];

function podCell(container: Container): string {
  const place = podPlaceOf(container);
  return place === undefined ? "-" : podText(place);
}

/** Since its last start; of one that never ran, since it was made. */
function ageCell({ container: { createdAt }, startedAt }: Row): string {
  const since = startedAt ?? (createdAt && nsFromTimestamp(createdAt));
  return since === undefined ? "-" : duration(msSince(since));
}

/** Of a namespace that is asked for but not there an empty list would be no answer. */
async function demandNamespace({ daemon, settings }: Visit): Promise<void> {
  const { namespace, namespaceGiven } = settings;
  // Asked for one by name, containerd says nothing of whether it is there.
  if (namespaceGiven && !(await namespaceNames(daemon)).includes(namespace)) {
    throw new Problem(`no namespace is called ${namespace}: "holdfast ns" lists them`);
  }
}

async function logsVerb(visit: Visit): Promise<void> {
  const { daemon, command } = visit;
  const id = await firstContainer(visit);
  const options = command.opts<{ follow?: boolean; tail?: number }>();
  const container = await getContainer(daemon, id);
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  const path = pathOfUri(task?.stdout ?? "") ?? logOf(container);
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

async function nsVerb({ daemon, words, command, settings: { screen } }: Visit): Promise<void> {
  const [verb = "list", ...names] = words;
  if (verb === "create") {
    await forEachNamespace(
      names,
      async (name) => void (await daemon.namespaces.create({ namespace: { name, labels: {} } })),
    );
  } else if (verb === "delete") {
    await forEachNamespace(names, async (name) => void (await daemon.namespaces.delete({ name })));
  } else if (verb === "list" && command.opts<{ quiet?: boolean }>().quiet === true) {
    for (const name of await namespaceNames(daemon)) screen.line(name);
  } else if (verb === "list") {
    const { namespaces } = await daemon.namespaces.list({ filter: "" });
    const counted = await Promise.all(
      namespaces.map(async ({ name, labels }) => {
        const place = daemon.inNamespace(name);
        const [{ containers }, { tasks }] = await Promise.all([
          place.containers.list({ filters: [] }),
          place.tasks.list({ filter: "" }),
        ]);
        return { name, labels, containers: containers.length, tasks: tasks.length };
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
  } else throw new Problem(`ns knows list, create and delete, not ${verb}`, USAGE);
}

async function forEachNamespace(
  names: readonly string[],
  act: (name: string) => Promise<void>,
): Promise<void> {
  for (const name of names) await act(name).catch((error: unknown) => failed(name, error));
}

export async function namespaceNames(daemon: DaemonClient): Promise<string[]> {
  const { namespaces } = await daemon.namespaces.list({ filter: "" });
  return namespaces.map(({ name }) => name).sort();
}
