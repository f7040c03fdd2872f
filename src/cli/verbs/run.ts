// `holdfast run`, `create` and `start`: containers from flags.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { type Command, InvalidArgumentError } from "commander";
import { OUR_RUNTIME } from "../../api/runtime-names.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { isAway, patiently } from "../containers/daemon-task.ts";
import {
  createContainer,
  getContainer,
  LOG_LABEL,
  labelsOf,
  orNone,
  processOf,
  specOf,
} from "../containers/record.ts";
import { makeSpec, type SpecFlags } from "../containers/spec.ts";
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from "../session/detach-keys.ts";
import { Fifos } from "../session/fifos.ts";
import { logFile } from "../session/log-files.ts";
import { demandTerminal, type Outcome } from "../session/session.ts";
import { runDetached, runInFront } from "../session/task-session.ts";
import { notStarted, Problem, USAGE } from "../text/problem.ts";
import { statusName } from "../text/task-status.ts";
import { daemonVerb, forEach, processVerb, type Visit } from "./daemon-verb.ts";
import { collect, examples, type Settings, sizeArgument } from "./options.ts";

interface RawFlags {
  readonly name?: string;
  readonly rootfs?: string;
  readonly bundle?: string;
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly mount?: readonly string[];
  readonly readOnly?: boolean;
  readonly memory?: number;
  readonly cpus?: number;
  readonly net?: string;
  readonly privileged?: boolean;
  readonly securityOpt?: readonly string[];
  readonly label?: readonly string[];
  readonly annotation?: readonly string[];
  readonly runtime: string;
}

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
    "run [command...]",
    "make a container and run a command in it; exits with its status",
    runVerb,
  );
  containerFlags(run.passThroughOptions())
    .option("-d, --detach", "leave it running; its output goes to a file (see logs)")
    .option("--rm", "delete it when it has ended");
  frontFlags(run);
  examples(
    run,
    ["holdfast run --rm --rootfs ./rootfs -- ls -l /", "run one command and see its output"],
    ["holdfast run --rm -it --rootfs ./rootfs sh", "a shell; ctrl-p ctrl-q leaves it running"],
    [
      "holdfast run -d --name web --memory 64m --cpus 0.5 --rootfs ./rootfs httpd -f",
      "a service with limits",
    ],
    ["holdfast run --bundle ./bundle", "an OCI bundle as it is"],
  );
  const create = daemonVerb(
    program,
    "create [command...]",
    "put a container on record without starting it; prints its id",
    createVerb,
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
    .option("--attach", "stay in front of it (of one container)")
    .option("-i, --interactive", "with --attach: give it our input");
  frontFlags(start);
  examples(
    start,
    ["holdfast start web", "in the background; logs shows its output"],
    ["holdfast start --attach -i web", "in front"],
  );
}

function containerFlags(command: Command): Command {
  return command
    .option("--name <id>", "the container's id (a random one)")
    .option("--rootfs <dir>", "its root file system")
    .option("--bundle <dir>", "an OCI bundle: its config.json and root file system")
    .option("-t, --tty", "give it a terminal")
    .option("-i, --interactive", "give it our input")
    .option(
      "-e, --env <NAME=VALUE>",
      "set a variable, or pass ours on with NAME; may be given again",
      collect,
    )
    .option("-w, --cwd <dir>", "its working directory")
    .option("-u, --user <user[:group]>", "its user, by name or number")
    .option("--hostname <name>", "its host name")
    .option(
      "--mount <spec>",
      "type=bind,source=DIR,target=DIR,options=ro:nosuid; may be given again",
      collect,
    )
    .option("--read-only", "do not let it write to its root file system")
    .option("-m, --memory <size>", "memory limit, such as 64m", sizeArgument)
    .option("--cpus <number>", "how many processors' time it may use, such as 0.5", cpusArgument)
    .option("--net <host|none>", "the host's network, or none (default)")
    .option("--privileged", "give it all capabilities and devices, and no seccomp profile")
    .option(
      "--security-opt <option>",
      "seccomp=unconfined, seccomp=FILE, no-new-privileges=false; may be given again",
      collect,
    )
    .option("--label <NAME=VALUE>", "a label of the record; may be given again", collect)
    .option(
      "--annotation <NAME=VALUE>",
      "an annotation for the runtime and the shim; may be given again",
      collect,
    )
    .option(
      "--runtime <name>",
      "containerd's name of the shim to use (HOLDFAST_RUNTIME)",
      process.env.HOLDFAST_RUNTIME ?? OUR_RUNTIME,
    );
}

function frontFlags(command: Command): Command {
  return command
    .option("--detach-keys <keys>", "keys that leave it running, in a terminal", DEFAULT_DETACH_KEYS)
    .option("--no-sig-proxy", "do not pass signals on to it");
}

/** For commander: a positive number. */
export function cpusArgument(text: string): number {
  const cpus = Number(text);
  if (!(cpus > 0)) throw new InvalidArgumentError("give a number such as 0.5 or 2.");
  return cpus;
}

/** The spec that flags say, and under which id. */
function readContainer({ command, words }: Visit): { id: string; flags: SpecFlags; raw: RawFlags } {
  const raw = command.opts<RawFlags>();
  if (raw.net !== undefined && raw.net !== "host" && raw.net !== "none") {
    throw new Problem(`--net ${raw.net}: this knows host and none`, USAGE);
  }
  const flags = {
    rootfs: raw.rootfs,
    bundle: raw.bundle,
    command: words,
    terminal: raw.tty === true,
    env: raw.env ?? [],
    cwd: raw.cwd,
    user: raw.user,
    hostname: raw.hostname,
    mounts: raw.mount ?? [],
    readOnly: raw.readOnly === true,
    memory: raw.memory,
    cpus: raw.cpus,
    hostNetwork: raw.net === "host",
    privileged: raw.privileged === true,
    securityOpts: raw.securityOpt ?? [],
    annotations: labelsOf(raw.annotation ?? []),
  };
  return { id: raw.name ?? randomBytes(6).toString("hex"), flags, raw };
}

async function record(visit: Visit): Promise<{ id: string; terminal: boolean; log: string }> {
  const { settings, daemon } = visit;
  const { id, flags, raw } = readContainer(visit);
  const spec = makeSpec(settings.namespace, id, flags);
  const log = logFile(settings.namespace, id);
  const labels = { ...labelsOf(raw.label ?? []), [LOG_LABEL]: log };
  await createContainer(daemon, { id, runtime: raw.runtime, labels, spec });
  return { id, terminal: processOf(spec).terminal, log };
}

async function createVerb(visit: Visit): Promise<void> {
  const { id } = await record(visit);
  sayId(visit.settings, id);
}

function sayId({ screen }: Settings, id: string): void {
  if (screen.json) screen.value({ id });
  else screen.line(id);
}

/** Leaves a process of ours behind that waits for the end: no daemon deletes by itself. */
function removeLater({ settings: { address, namespace } }: Visit, id: string): void {
  const place = ["--address", address, "--namespace", namespace];
  const argv = [...process.execArgv, process.argv[1] ?? "", ...place, "delete", "--wait", id];
  spawn(process.execPath, argv, { detached: true, stdio: "ignore" }).unref();
}

async function runVerb(visit: Visit): Promise<void> {
  const { daemon, command, settings } = visit;
  const front = command.opts<FrontFlags>();
  const interactive = front.interactive === true;
  const detachKeys = parseDetachKeys(front.detachKeys);
  if (front.detach !== true) demandTerminal(command.opts<RawFlags>().tty === true, interactive);
  let id: string | undefined;
  try {
    const made = await record(visit);
    id = made.id;
    if (front.detach === true) {
      await runDetached(daemon, id, { log: made.log, terminal: made.terminal, input: interactive });
      if (front.rm === true) removeLater(visit, id);
      sayId(settings, id);
      return;
    }
    const options = { interactive, terminal: made.terminal, detachKeys, signalProxy: front.sigProxy };
    const outcome = await runInFront(daemon, id, options);
    await finish(visit, id, outcome, front.rm === true);
  } catch (error) {
    // What never ran leaves no record.
    if (id !== undefined && !(await hasTask(daemon, id)))
      await daemon.containers.delete({ id }).catch(() => {});
    throw error;
  }
}

/** true too if the daemon cannot tell. */
async function hasTask(daemon: DaemonClient, id: string): Promise<boolean> {
  try {
    return (await orNone(daemon.tasks.get({ containerId: id, execId: "" }))) !== undefined;
  } catch {
    return true;
  }
}

async function finish(
  { daemon, settings }: Visit,
  id: string,
  outcome: Outcome,
  remove: boolean,
): Promise<void> {
  if (outcome === "detached") {
    settings.screen.note(`${id} goes on; "holdfast attach ${id}" brings you back`);
    return;
  }
  process.exitCode = outcome.status;
  if (!remove) return;
  try {
    await deleteContainer(daemon, id);
  } catch (error) {
    if (!isAway(error)) throw error;
    settings.screen.note(`the daemon is away; ${id} is deleted when it is back (ctrl-c leaves it)`);
    await patiently(() => deleteContainer(daemon, id));
  }
}

/** Removes an ended task and its record, with the fifos that we made for it. */
export async function deleteContainer(daemon: DaemonClient, id: string): Promise<void> {
  const task = await orNone(daemon.tasks.get({ containerId: id, execId: "" }));
  if (task?.process !== undefined) {
    await orNone(daemon.tasks.delete({ containerId: id }));
    Fifos.remove(task.process);
  }
  // The first answer may have been lost with the daemon.
  await orNone(daemon.containers.delete({ id }));
}

async function startVerb(visit: Visit): Promise<void> {
  const { words, command, daemon, settings } = visit;
  const front = command.opts<FrontFlags>();
  const start = async (id: string): Promise<void> => {
    const container = await getContainer(daemon, id);
    await clearEnded(daemon, id);
    const { terminal } = processOf(specOf(container));
    if (front.attach !== true) {
      const log = container.labels[LOG_LABEL] ?? logFile(settings.namespace, id);
      await runDetached(daemon, id, { log, terminal, input: front.interactive === true });
      sayId(settings, id);
      return;
    }
    const interactive = front.interactive === true;
    demandTerminal(terminal, interactive);
    const detachKeys = parseDetachKeys(front.detachKeys);
    const outcome = await runInFront(daemon, id, {
      interactive,
      terminal,
      detachKeys,
      signalProxy: front.sigProxy,
    });
    await finish(visit, id, outcome, false);
  };
  const [id] = words;
  if (front.attach !== true) await forEach(words, start);
  else if (words.length !== 1 || id === undefined) throw new Problem("--attach is for one container", USAGE);
  else {
    try {
      await start(id);
    } catch (error) {
      throw notStarted(error);
    }
  }
}

/** A task that has ended stands in the way of the next. */
async function clearEnded(daemon: DaemonClient, id: string): Promise<void> {
  const task = (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process;
  if (task === undefined) return;
  const status = statusName(task.status);
  if (status !== "stopped") throw new Problem(`${id} is ${status} already`);
  await daemon.tasks.delete({ containerId: id });
  Fifos.remove(task);
}
