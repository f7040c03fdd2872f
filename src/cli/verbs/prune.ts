// `holdfast prune` and `system df`: what takes space, and what of it can go.
import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { nsFromTimestamp } from "../../api/timestamp.ts";
import { podPlaceOf } from "../containers/names.ts";
import { orNone } from "../containers/record.ts";
import { deleteEndedToo } from "../containers/removal.ts";
import { type Row, rowsOf } from "../containers/rows.ts";
import { shortName } from "../images/reference.ts";
import { type Share, usageOf, usedImages } from "../images/usage.ts";
import { errorText, FAILED, Problem, USAGE } from "../text/problem.ts";
import { complain } from "../text/screen.ts";
import { statusName } from "../text/task-status.ts";
import { bytes, msSince } from "../text/units.ts";
import { connected, daemonVerb, type Visit } from "./daemon-verb.ts";
import { commonFlags, examples } from "./options.ts";
import { answerUnknown } from "./unknown.ts";

/** One that has no task is not deleted while somebody may be about to start it, in ms. */
const GRACE = 60_000;

export function addPruneVerbs(program: Command): void {
  const prune = daemonVerb(
    program,
    "prune",
    "delete containers that have ended, and what nothing needs any more",
    pruneVerb,
  )
    .option("-a, --all", "images that no container uses too")
    .option("-f, --force", "do not ask");
  examples(
    prune,
    ["holdfast prune", "ended containers"],
    ["holdfast prune -af", "images too, without a question"],
  );
  const system = program.command("system").description("what images and containers take of the disk");
  answerUnknown(system, ["df"]);
  const df = commonFlags(
    system.command("df").description("what images, their layers and containers take of the disk"),
  ).action(() => connected(df, dfVerb));
  examples(df, ["holdfast system df", "how much, and how much of it prune -a gives back"]);
  examples(system, ["holdfast system df", "how much, and how much of it prune -a gives back"]);
}

async function dfVerb({ daemon, settings: { screen } }: Visit): Promise<void> {
  const shares = await usageOf(daemon);
  if (screen.json) return screen.document(shares);
  screen.table(
    ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"],
    shares.map(({ type, total, active, size, reclaimable }) => [
      type,
      String(total),
      String(active),
      bytes(size),
      bytes(reclaimable),
    ]),
  );
}

async function pruneVerb(visit: Visit): Promise<void> {
  const { daemon, settings, command } = visit;
  const { all = false, force = false } = command.opts<{ all?: boolean; force?: boolean }>();
  if (!force && !(await confirmed(all))) return;
  const before = sumOf(await usageOf(daemon));
  const rows = await rowsOf(daemon, true, false);
  for (const { container } of rows.filter(isOver))
    await removed(visit, container.id, () => deleteEndedToo(daemon, container.id));
  if (all) await removeImages(visit);
  await collectNow(visit);
  const freed = Math.max(0, before - sumOf(await usageOf(daemon)));
  if (settings.screen.json) settings.screen.value({ freedBytes: freed });
  else settings.screen.line(`freed ${bytes(freed)}`);
}

/** Throws a Problem where nobody can answer. */
async function confirmed(all: boolean): Promise<boolean> {
  if (!process.stdin.isTTY) throw new Problem("prune deletes: give --force where nobody can be asked", USAGE);
  const what = all
    ? "all containers that have ended, and all images without a container"
    : "all containers that have ended";
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`This deletes ${what}. Go on? [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}

function sumOf(shares: readonly Share[]): number {
  return shares.reduce((sum, { size }) => sum + size, 0);
}

/** Of a pod Kubernetes decides itself. */
function isOver({ container, task }: Row): boolean {
  if (podPlaceOf(container) !== undefined) return false;
  if (task !== undefined) return statusName(task.status) === "stopped";
  const { updatedAt } = container;
  return updatedAt !== undefined && msSince(nsFromTimestamp(updatedAt)) > GRACE;
}

async function removeImages(visit: Visit): Promise<void> {
  const { daemon } = visit;
  const [{ images }, { containers }] = await Promise.all([
    daemon.images.list({ filters: [] }),
    daemon.containers.list({ filters: [] }),
  ]);
  const isUsed = usedImages(images, containers);
  for (const { name } of images.filter((image) => !isUsed(image)))
    await removed(visit, shortName(name), () =>
      orNone(daemon.images.delete({ name, sync: false, target: undefined })),
    );
}

async function removed({ settings }: Visit, id: string, act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
    settings.screen.id(id);
  } catch (error) {
    complain(errorText(error), id);
    process.exitCode = FAILED;
  }
}

/** Deleting a lease at once has everything collected that nothing keeps. */
async function collectNow({ daemon }: Visit): Promise<void> {
  const { lease } = await daemon.leases.create({ id: "", labels: {} });
  await daemon.leases.delete({ id: lease?.id ?? "", sync: true });
}
