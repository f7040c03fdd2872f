// Verbs for containers that run: exec, attach, kill, pause, resume, update, delete.
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { SPEC_LINUX_RESOURCES } from "../../api/any.ts";
import { Status } from "../../api/generated/process.ts";
import { Code } from "../../ttrpc/status.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { DaemonTask, patiently } from "../containers/daemon-task.ts";
import { getContainer, logOf, orNone, specOf } from "../containers/record.ts";
import { deleteEnded } from "../containers/removal.ts";
import { limited } from "../containers/spec.ts";
import { DEFAULT_DETACH_KEYS, parseDetachKeys } from "../session/detach-keys.ts";
import { runExec } from "../session/exec-session.ts";
import { removeLog } from "../session/log-files.ts";
import { loadInput } from "../session/session.ts";
import { attachTo } from "../session/task-session.ts";
import { stringifyExact } from "../text/exact-json.ts";
import { callCode, Problem, USAGE } from "../text/problem.ts";
import { signalNumber } from "../text/signals.ts";
import {
  type Check,
  connected,
  daemonVerb,
  failed,
  firstContainer,
  forEach,
  processVerb,
  type Visit,
} from "./daemon-verb.ts";
import { directKill } from "./direct-kill.ts";
import { execFlags, readExecFlags } from "./exec-flags.ts";
import { commonFlags, examples, settingsOf, sizeArgument } from "./options.ts";
import { cpusArgument, pidsArgument } from "./run-flags.ts";

const SIGKILL = 9;

export function addTaskVerbs(program: Command): void {
  const exec = processVerb(
    program,
    "exec <id> <command...>",
    "run a command in a container; exits with its status",
    execVerb,
  );
  execFlags(exec.passThroughOptions());
  examples(
    exec,
    ["holdfast exec -it web sh", "a shell"],
    ["holdfast exec -i web sh -c 'cat >/tmp/f' <f", "copy a file in"],
  );

  const attach = processVerb(
    program,
    "attach <id>",
    "stay in front of a running container; exits with its status",
    attachVerb,
  )
    .option("--no-stdin", "do not give it our input")
    .option("--detach-keys <keys>", "keys that leave it running, in a terminal", DEFAULT_DETACH_KEYS)
    .option("--no-sig-proxy", "do not pass signals on to it");
  examples(attach, ["holdfast attach web", "back to a container after ctrl-p ctrl-q"]);

  const kill = program.command("kill <id...>").description("send a signal to containers");
  commonFlags(kill)
    .option("-s, --signal <signal>", "name or number (SIGTERM; with --direct SIGKILL, to all processes)")
    .option("--all", "to all processes of the container, not only its init")
    .option("--exec-id <id>", "to this exec (of one container)")
    .option("--direct", "without daemon, shim and runtime: for what hangs")
    .action(() =>
      kill.opts<KillFlags>().direct === true ? killDirectVerb(kill) : connected(kill, killVerb, checkKill),
    );
  examples(
    kill,
    ["holdfast kill -s KILL web db", "end two containers"],
    ["holdfast kill --direct web", "end one whose shim or runtime hangs"],
  );

  examples(
    daemonVerb(program, "pause <id...>", "freeze containers", (visit) =>
      forEach(visit, async (id) => void (await visit.daemon.tasks.pause({ containerId: id }))),
    ),
    ["holdfast pause web", "its processes stop where they are"],
  );
  examples(
    daemonVerb(program, "resume <id...>", "let frozen containers go on", (visit) =>
      forEach(visit, async (id) => void (await visit.daemon.tasks.resume({ containerId: id }))),
    ),
    ["holdfast resume web", "after pause"],
  );

  const update = daemonVerb(
    program,
    "update <id...>",
    "change the limits of running containers",
    updateVerb,
    checkUpdate,
  )
    .option("-m, --memory <size>", "memory limit, such as 64m", sizeArgument)
    .option("--cpus <number>", "how many processors' time it may use", cpusArgument)
    .option("--pids-limit <number>", "how many processes and threads it may have; -1 for any", pidsArgument);
  examples(update, ["holdfast update --memory 128m --cpus 2 web", "more of both"]);

  const remove = daemonVerb(
    program,
    "delete <id...>",
    "delete containers that have ended, and their logs",
    deleteVerb,
  )
    .alias("rm")
    .option("-f, --force", "end what runs first")
    .option("--wait", "wait for the end first");
  examples(
    remove,
    ["holdfast delete -f web", "whatever it is doing"],
    ["holdfast delete --wait web &", "when it has ended"],
  );
}

async function execVerb(visit: Visit): Promise<void> {
  const { daemon, words, command, settings } = visit;
  const id = await firstContainer(visit);
  const argv = words.slice(1);
  const spec = specOf(await getContainer(daemon, id));
  const flags = readExecFlags(command, argv);
  const outcome = await runExec(new DaemonTask(daemon, id), spec, flags);
  if (outcome !== "detached") process.exitCode = outcome.status;
  else if (flags.detach) settings.screen.id(flags.execId);
  else settings.screen.note(`${flags.execId} goes on`);
}

async function attachVerb(visit: Visit): Promise<void> {
  const { daemon, command, settings } = visit;
  const id = await firstContainer(visit);
  const { stdin, detachKeys, sigProxy } = command.opts<{
    stdin: boolean;
    detachKeys: string;
    sigProxy: boolean;
  }>();
  const options = { input: stdin, detachKeys: parseDetachKeys(detachKeys), signalProxy: sigProxy };
  await loadInput();
  const outcome = await attachTo(daemon, id, options);
  if (outcome === "detached") settings.screen.note(`${id} goes on`);
  else process.exitCode = outcome.status;
}

interface KillFlags {
  readonly signal?: string;
  readonly all?: boolean;
  readonly execId?: string;
  readonly direct?: boolean;
}

const checkKill: Check = ({ words, command }) => {
  const { signal, execId = "" } = command.opts<KillFlags>();
  if (signal !== undefined) signalNumber(signal);
  if (execId !== "" && words.length > 1) throw new Problem("--exec-id is for one container", USAGE);
};

async function killVerb(visit: Visit): Promise<void> {
  const { daemon, command } = visit;
  const { signal = "SIGTERM", all = false, execId = "" } = command.opts<KillFlags>();
  const number = signalNumber(signal);
  await forEach(visit, (id) => new DaemonTask(daemon, id).kill(execId, number, all));
}

/** Asks nobody: the daemon may hang too. */
async function killDirectVerb(command: Command): Promise<void> {
  const { namespace, timeoutMs } = settingsOf(command);
  const flags = command.opts<KillFlags>();
  for (const id of command.args) {
    await directKill(namespace, id, flags, timeoutMs).catch((error: unknown) => failed(id, error));
  }
}

interface Limits {
  readonly memory?: number;
  readonly cpus?: number;
  readonly pidsLimit?: number;
}

const checkUpdate: Check = ({ command }) => {
  const { memory, cpus, pidsLimit } = command.opts<Limits>();
  if (memory === undefined && cpus === undefined && pidsLimit === undefined)
    throw new Problem("change what? Give --memory, --cpus or --pids-limit", USAGE);
};

async function updateVerb(visit: Visit): Promise<void> {
  const { daemon, command } = visit;
  const { memory, cpus, pidsLimit: pids } = command.opts<Limits>();
  const json = stringifyExact(limited({}, { memory, cpus, pids }));
  const resources = { typeUrl: SPEC_LINUX_RESOURCES, value: new TextEncoder().encode(json) };
  await forEach(
    visit,
    async (id) => void (await daemon.tasks.update({ containerId: id, resources, annotations: {} })),
  );
}

async function deleteVerb(visit: Visit): Promise<void> {
  const { daemon, command } = visit;
  const { force, wait } = command.opts<{ force?: boolean; wait?: boolean }>();
  await forEach(visit, async (id) => {
    const container = await getContainer(daemon, id);
    if (wait === true) await orNone(new DaemonTask(daemon, id).wait(""));
    if (force === true) await deleteByForce(daemon, id);
    else {
      if (isUnderWay(await statusOf(daemon, id)))
        throw new Problem("it is running: end it first, or give -f");
      await patiently(() => deleteEnded(daemon, id));
    }
    removeLog(logOf(container));
  });
}

async function statusOf(daemon: DaemonClient, id: string): Promise<Status | undefined> {
  return (await orNone(daemon.tasks.get({ containerId: id, execId: "" })))?.process?.status;
}

function isUnderWay(status: Status | undefined): boolean {
  return status !== undefined && status !== Status.STOPPED && status !== Status.CREATED;
}

/** How long it may be started by somebody again, or still, in ms. */
const STARTS = 10_000;
const RETRY = 50;

async function deleteByForce(daemon: DaemonClient, id: string): Promise<void> {
  for (const begun = performance.now(); ; await sleep(RETRY)) {
    const status = await statusOf(daemon, id);
    if (isUnderWay(status))
      await endTask(new DaemonTask(daemon.forReason("delete"), id), status === Status.PAUSED, () =>
        daemon.tasks.resume({ containerId: id }),
      );
    try {
      await patiently(() => deleteEnded(daemon, id));
      return;
    } catch (error) {
      // Somebody was just starting it.
      const isStarted = callCode(error) === Code.FAILED_PRECONDITION && performance.now() - begun < STARTS;
      if (!isStarted) throw error;
    }
  }
}

/** A frozen process does not notice that it is killed, everywhere. */
async function endTask(task: DaemonTask, frozen: boolean, resume: () => Promise<unknown>): Promise<void> {
  const exit = task.wait("");
  exit.catch(() => {});
  await orNone(task.kill("", SIGKILL, true));
  if (frozen) await resume().catch(() => {});
  await exit;
}
