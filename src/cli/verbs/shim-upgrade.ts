// `holdfast shim upgrade`: another version of the shim's program takes the place of shims that run, under their containers and clients.
import { resolve } from "node:path";
import { Command, Option } from "commander";
import { Code } from "../../ttrpc/status.ts";
import { ShimConnection } from "../shims/connection.ts";
import { findShims } from "../shims/processes.ts";
import { findTarget, type ShimTarget } from "../shims/target.ts";
import { callCode, errorText, FAILED, Problem, USAGE } from "../text/problem.ts";
import { commonFlags, examples, flagsOf, type Settings, settingsOf } from "./options.ts";

const KIND = "holdfast-v2";

/** What `shim upgrade` is, and the verb of one shim. */
export const UPGRADE =
  "put the installed version of its program in a running shim's place; nothing else ends";

export function programOption(): Option {
  return new Option("--program <file>", "this program (the one where the running one was started from)");
}

/** `shim upgrade`, which names its shims after the verb. */
export function shimUpgrade(parent: Command): Command {
  const verb = new Command("holdfast shim upgrade")
    .configureOutput(parent.configureOutput())
    .description(`${UPGRADE[0]?.toUpperCase()}${UPGRADE.slice(1)}.`)
    .argument("[id|socket|pid...]")
    .option("--all", "every shim of ours on this host, or of the namespace of -n")
    .addOption(programOption())
    .exitOverride();
  commonFlags(verb, { daemon: false });
  examples(
    verb,
    ["holdfast shim upgrade --all", "after npm run install-host"],
    [
      "holdfast shim upgrade web --program ./containerd-shim-holdfast-v2",
      "one shim, with a program of one's own",
    ],
  );
  return verb.action(async (words: readonly string[]) => {
    takeFlagsOf(parent, verb);
    const { all, program } = verb.opts<{ all?: boolean; program?: string }>();
    if (words.length > 0 === (all === true)) throw new Problem("give the shims, or --all", USAGE);
    const settings = settingsOf(verb);
    const targets = all
      ? everyShim(settings.namespaceGiven ? settings.namespace : undefined)
      : words.map((word) => targetOf(word, settings));
    await upgradeShims(settings, targets, program);
  });
}

/** Flags may stand before a shim, or before `upgrade`, as well as after the verb. */
export function takeFlagsOf(parent: Command, verb: Command): void {
  for (const [name, value] of Object.entries(flagsOf<object>(parent))) {
    if (verb.getOptionValue(name) === undefined) verb.setOptionValue(name, value);
  }
}

/** Throws a Problem if nothing, or more than one thing, is meant. */
export function targetOf(word: string, { namespace, namespaceGiven, namespaceSet }: Settings): ShimTarget {
  return findTarget(word, namespaceGiven ? namespace : undefined, namespaceSet ? namespace : undefined);
}

/** One after the other; one that fails goes on as it was, and keeps none of the others back. Throws a Problem at the end if any did. */
export async function upgradeShims(
  { screen, timeoutMs }: Settings,
  targets: readonly ShimTarget[],
  program: string | undefined,
): Promise<void> {
  const path = program === undefined ? "" : resolve(program);
  const done: { id: string; namespace: string; pid: number; version: string }[] = [];
  const failures: string[] = [];
  for (const { shim, socket } of targets) {
    const name = shim?.id ?? socket;
    try {
      const { pid, version } = await upgrade(socket, shim?.id ?? "", path, timeoutMs);
      done.push({ id: name, namespace: shim?.namespace ?? "", pid, version });
    } catch (error) {
      failures.push(`${name}: ${errorText(error)}`);
    }
  }
  if (screen.json) screen.document(done);
  else if (done.length > 0)
    screen.table(
      ["ID", "NAMESPACE", "PID", "VERSION"],
      done.map(({ id, namespace, pid, version }) => [id, namespace, String(pid), version]),
    );
  if (failures.length > 0) throw new Problem(`not upgraded, and as before:\n${failures.join("\n")}`, FAILED);
}

function everyShim(namespace: string | undefined): ShimTarget[] {
  return findShims()
    .filter((shim) => shim.kind === KIND && (namespace === undefined || shim.namespace === namespace))
    .flatMap((shim) => {
      const socket = shim.socket;
      return socket === undefined ? [] : [{ shim, socket, container: undefined }];
    });
}

async function upgrade(socket: string, id: string, program: string, timeoutMs: number) {
  const connection = await ShimConnection.open(socket, id, timeoutMs);
  try {
    return await connection.upgrade(program);
  } catch (error) {
    if (callCode(error) !== Code.UNIMPLEMENTED) throw error;
    throw new Problem("this kind of shim cannot be upgraded while it runs", FAILED, { cause: error });
  } finally {
    connection.close();
  }
}
