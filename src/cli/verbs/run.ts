// `holdfast run`, `create` and `start`: containers from flags.

import type { Command } from "commander";
import type { Image } from "../../api/generated/images.ts";
import type { Mount } from "../../api/generated/mount.ts";
import { AUTO_REMOVE_LABEL, CLIENT_LABEL, LOG_LABEL, STOP_SIGNAL_LABEL } from "../../api/labels.ts";
import { processIdentity } from "../../platform/node-process.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { isAway, patiently } from "../containers/daemon-task.ts";
import {
  createContainer,
  getContainer,
  labelsOf,
  logOf,
  orNone,
  processIn,
  processOf,
} from "../containers/record.ts";
import { deleteEndedToo, type Owner, Removal, removesByItself } from "../containers/removal.ts";
import { makeSpec } from "../containers/spec.ts";
import { type PreparedImage, prepareImage } from "../images/prepare.ts";
import { fullName } from "../images/reference.ts";
import { ImageStore } from "../images/store.ts";
import { makeVolumes } from "../images/volumes.ts";
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from "../session/detach-keys.ts";
import { Fifos } from "../session/fifos.ts";
import { logFile, removeLog } from "../session/log-files.ts";
import { demandTerminal, type Outcome } from "../session/session.ts";
import { runDetached, runInFront } from "../session/task-session.ts";
import { errorText, notStarted, Problem, USAGE } from "../text/problem.ts";
import { signalNumber } from "../text/signals.ts";
import { statusName } from "../text/task-status.ts";
import { daemonVerb, firstContainer, forEach, processVerb, type Visit } from "./daemon-verb.ts";
import { examples } from "./options.ts";
import {
  checkContainer,
  containerFlags,
  imageOf,
  type RawFlags,
  readContainer,
  type Wanted,
} from "./run-flags.ts";

type PullImage = typeof import("../images/pull.ts").pullImage;

interface FrontFlags {
  readonly detach?: boolean;
  readonly rm?: boolean;
  readonly attach?: boolean;
  readonly interactive?: boolean;
  readonly detachKeys: string;
  readonly sigProxy: boolean;
}

export function addRunVerbs(program: Command): void {
  const run = processVerb(
    program,
    "run [image] [command...]",
    "make a container and run a command in it; exits with its status",
    runVerb,
    checkContainer,
  );
  containerFlags(run.passThroughOptions())
    .option("-d, --detach", "leave it running; its output goes to a file (see logs)")
    .option("--rm", "delete it when it has ended");
  frontFlags(run);
  examples(
    run,
    ["holdfast run --rm redis redis-server --version", "run one command of an image and see its output"],
    ["holdfast run --rm --rootfs ./rootfs -- ls -l /", "the same in a root file system that is a directory"],
    ["holdfast run --rm -it --rootfs ./rootfs sh", "a shell; ctrl-p ctrl-q leaves it running"],
    [
      "holdfast run -d --name web --memory 64m --cpus 0.5 --rootfs ./rootfs httpd -f",
      "a service with limits",
    ],
    [
      "holdfast run -d --log-policy drop --rootfs ./rootfs chatter",
      "it never waits for whoever reads its output",
    ],
    ["holdfast run --bundle ./bundle", "an OCI bundle as it is"],
  );
  const create = daemonVerb(
    program,
    "create [image] [command...]",
    "put a container on record without starting it; prints its id",
    createVerb,
    checkContainer,
  );
  containerFlags(create.passThroughOptions());
  examples(create, [
    "holdfast create --name web --rootfs ./rootfs httpd -f && holdfast start web",
    "in two steps",
  ]);
  const start = daemonVerb(
    program,
    "start <id...>",
    "start containers that are on record, also again",
    startVerb,
  )
    .option("-a, --attach", "stay in front of it (of one container)")
    .option("-i, --interactive", "with --attach: give it our input");
  frontFlags(start);
  examples(
    start,
    ["holdfast start web", "in the background; logs shows its output"],
    ["holdfast start --attach -i web", "in front"],
  );
}

function frontFlags(command: Command): Command {
  return command
    .option("--detach-keys <keys>", "keys that leave it running, in a terminal", DEFAULT_DETACH_KEYS)
    .option("--no-sig-proxy", "do not pass signals on to it");
}

interface Made {
  readonly id: string;
  readonly terminal: boolean;
  readonly log: string;
  /** For its task. */
  readonly rootfs: readonly Mount[];
  readonly owner: Owner;
}

interface Steps {
  /** As of ImageStore.underLease(). */
  readonly released: (end: Promise<unknown>) => void;
  /** Nothing is wanted any more that is not here. */
  readonly found: () => void;
}

async function record(
  visit: Visit,
  removed: boolean,
  { released, found = () => {} }: Partial<Steps> = {},
): Promise<Made> {
  const name = imageOf(visit);
  if (name === undefined) {
    found();
    return putOnRecord(visit, readContainer(visit), removed, undefined);
  }
  const raw = visit.command.opts<RawFlags>();
  let image = imageHere(visit, name, raw);
  let wanted: Wanted | undefined;
  const act = async (store: ImageStore): Promise<Made | undefined> => {
    const here = await image;
    if (here === undefined) return undefined;
    found();
    // A file of variables may give them once: it is read where this goes on.
    wanted ??= readContainer(visit);
    const prepared = await prepareImage(store, wanted.id, here, wanted.platform);
    const declared = await makeVolumes(store, wanted.id, prepared, wanted.flags);
    const flags = { ...wanted.flags, image: prepared, declared: declared.mounts };
    return putOnRecord(visit, { ...wanted, flags }, removed, { ...prepared, labels: declared.labels });
  };
  // Until the container is on record nothing else keeps its snapshot. The lease is made while the image is looked for.
  image.catch(() => {});
  const made = raw.pull === "always" ? undefined : await underLease(visit, act, released);
  if (made !== undefined) return made;
  // What talks to registries takes longer to load than most images to be found.
  const { pullImage } = await import("../images/pull.ts");
  wanted = readContainer(visit);
  image = pulled(visit, name, raw, pullImage);
  await image;
  const second = await underLease(visit, act, released);
  if (second === undefined) throw new Error(`${name}: pulled, and not there`);
  return second;
}

/** The lease's end is waited for where nothing was made, and where nobody else waits for it. */
async function underLease<T>(
  { daemon }: Visit,
  act: (store: ImageStore) => Promise<T | undefined>,
  released?: (end: Promise<unknown>) => void,
): Promise<T | undefined> {
  let leaseEnd: Promise<unknown> | undefined;
  let made: T | undefined;
  try {
    made = await ImageStore.underLease(daemon, act, (end) => {
      leaseEnd = end;
      released?.(end);
    });
    return made;
  } finally {
    if (made === undefined || released === undefined) await leaseEnd;
  }
}

/** undefined if it is not here. Throws a Problem if it is not to be pulled either. */
function imageHere({ daemon }: Visit, name: string, { pull }: RawFlags): Promise<Image | undefined> {
  const store = new ImageStore(daemon);
  return pull === "never" ? store.find(name) : store.lookUp(name, fullName(name));
}

/** The image of its registry. How far it is is shown beside what the container prints. */
async function pulled(
  { daemon }: Visit,
  image: string,
  { pull: when, platform }: RawFlags,
  pullImage: PullImage,
): Promise<Image> {
  try {
    await pullImage(
      daemon,
      image,
      platform === undefined ? {} : { platform: [platform] },
      process.stderr,
      false,
    );
  } catch (error) {
    if (when === "always") throw error;
    const text = `${image}: no such image here, and its registry does not give it: ${errorText(error)}`;
    throw new Problem(text, undefined, { cause: error });
  }
  return new ImageStore(daemon).find(image);
}

async function putOnRecord(
  { settings, daemon }: Visit,
  { id, flags, raw }: Wanted,
  removed: boolean,
  image: (PreparedImage & { readonly labels: Readonly<Record<string, string>> }) | undefined,
): Promise<Made> {
  const spec = makeSpec(settings.namespace, id, flags);
  const stop = raw.stopSignal ?? flags.image?.config.config?.StopSignal;
  const log = logFile(settings.namespace, id);
  const labels = {
    ...labelsOf(raw.label ?? []),
    ...image?.labels,
    [LOG_LABEL]: log,
    ...(removed && { [AUTO_REMOVE_LABEL]: "true", [CLIENT_LABEL]: processIdentity() }),
    ...(stop !== undefined && { [STOP_SIGNAL_LABEL]: stopSignal(stop) }),
  };
  await createContainer(daemon, { id, runtime: raw.runtime, labels, spec, image });
  // Of an earlier container of that name.
  removeLog(log);
  const { snapshotter = "" } = image ?? {};
  const owner = { id, snapshotter, snapshotKey: image === undefined ? "" : id, labels };
  return { id, terminal: processOf(spec).terminal, log, rootfs: image?.rootfs ?? [], owner };
}

/** Throws a Problem for what is none. */
function stopSignal(text: string): string {
  signalNumber(text);
  return text;
}

async function createVerb(visit: Visit): Promise<void> {
  const { id } = await record(visit, false);
  visit.settings.screen.id(id);
}

async function runVerb(visit: Visit): Promise<void> {
  const { daemon, command, settings } = visit;
  const front = command.opts<FrontFlags>();
  const interactive = front.interactive === true;
  const detachKeys = parseDetachKeys(front.detachKeys);
  if (front.detach !== true) await demandTerminal(command.opts<RawFlags>().tty === true, interactive);
  const byDaemon = front.rm === true ? removesByItself(daemon) : undefined;
  let fifos: Promise<Fifos> | undefined;
  let leaseEnd: Promise<unknown> | undefined;
  let made: Made | undefined;
  let removal: Removal | undefined;
  try {
    made = await record(visit, front.rm === true, {
      released: (end) => {
        leaseEnd = end;
      },
      found: () => {
        if (front.detach !== true) fifos = earlyFifos(command, interactive);
      },
    });
    const { id, terminal, log, rootfs, owner } = made;
    if (byDaemon !== undefined) removal = Removal.arrange(daemon, settings.address, id, await byDaemon);
    const created = (pid: number): void => removal?.created(pid);
    const started = (): void => removal?.started();
    if (front.detach === true) {
      await runDetached(daemon, id, { log, terminal, rootfs, input: interactive, created, started });
      settings.screen.id(id);
      return;
    }
    const temporary = front.rm === true;
    const options = {
      interactive,
      terminal,
      rootfs,
      detachKeys,
      signalProxy: front.sigProxy,
      temporary,
      created,
      started,
    };
    const outcome = await runInFront(daemon, id, { ...options, ...(fifos !== undefined && { fifos }) });
    finish(visit, id, outcome);
    if (outcome !== "detached" && front.rm === true) await remove(visit, owner);
    if (outcome !== "detached") removal?.done();
  } catch (error) {
    await fifos?.then((each) => each.discard()).catch(() => {});
    // What never ran leaves no record.
    if (made !== undefined && !(await hasTask(daemon, made.id))) {
      await daemon.containers.delete({ id: made.id }).catch(() => {});
      removal?.done();
    }
    throw error;
  } finally {
    await leaseEnd;
  }
}

/** Made while the container is put on record; undefined where only its bundle tells whether it has a terminal. */
function earlyFifos(command: Command, stdin: boolean): Promise<Fifos> | undefined {
  const { bundle, tty } = command.opts<RawFlags>();
  if (bundle !== undefined) return undefined;
  const fifos = Fifos.create({ stdin, terminal: tty === true });
  // Looked at when they are needed.
  fifos.catch(() => {});
  return fifos;
}

/** true too if the daemon cannot tell. */
async function hasTask(daemon: DaemonClient, id: string): Promise<boolean> {
  try {
    return (await orNone(daemon.tasks.get({ containerId: id, execId: "" }))) !== undefined;
  } catch {
    return true;
  }
}

function finish({ settings }: Visit, id: string, outcome: Outcome): void {
  if (outcome !== "detached") process.exitCode = outcome.status;
  else settings.screen.note(`${id} goes on; "holdfast attach ${id}" brings you back`);
}

/** The daemon may be at it too. */
async function remove({ daemon, settings }: Visit, owner: Owner): Promise<void> {
  const { id } = owner;
  try {
    await deleteEndedToo(daemon, id, owner);
  } catch (error) {
    if (!isAway(error)) throw error;
    settings.screen.note(`the daemon is away; ${id} is deleted when it is back (ctrl-c leaves it)`);
    await patiently(() => deleteEndedToo(daemon, id, owner));
  }
}

async function startVerb(visit: Visit): Promise<void> {
  const { command, words, settings } = visit;
  const front = command.opts<FrontFlags>();
  if (front.attach !== true) {
    await forEach(visit, async (id) => {
      await startAgain(visit, id, front.interactive === true);
      settings.screen.id(id);
    });
  } else if (words.length !== 1) throw new Problem("--attach is for one container", USAGE);
  else {
    try {
      await startInFront(visit, await firstContainer(visit), front);
    } catch (error) {
      throw notStarted(error);
    }
  }
}

/** Starts a container that does not run, with its output to its log. */
export async function startAgain({ daemon, settings }: Visit, id: string, input = false): Promise<void> {
  const container = await getContainer(daemon, id);
  await clearEnded(daemon, id);
  const { terminal } = processIn(container);
  const log = logOf(container) ?? logFile(settings.namespace, id);
  await runDetached(daemon, id, { log, terminal, input, ...NOBODY });
}

async function startInFront(visit: Visit, id: string, front: FrontFlags): Promise<void> {
  const { daemon } = visit;
  const container = await getContainer(daemon, id);
  const { terminal } = processIn(container);
  const interactive = front.interactive === true;
  await demandTerminal(terminal, interactive);
  await clearEnded(daemon, id);
  const detachKeys = parseDetachKeys(front.detachKeys);
  const signalProxy = front.sigProxy;
  const options = { interactive, terminal, detachKeys, signalProxy, temporary: false, ...NOBODY };
  finish(visit, id, await runInFront(daemon, id, options));
}

/** Nobody minds the steps. */
const NOBODY = { created: (): void => {}, started: (): void => {} } as const;

/** A task that has ended stands in the way of the next. */
async function clearEnded(daemon: DaemonClient, id: string): Promise<void> {
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  if (task === undefined) return;
  const status = statusName(task.status);
  if (status !== "stopped") throw new Problem(`${id} is ${status} already`);
  await daemon.tasks.delete({ containerId: id });
  Fifos.remove(task);
}
