// What `holdfast run` and `create` can be asked for, by flags.

import { randomBytes } from "node:crypto";
import { type Command, InvalidArgumentError, Option } from "commander";
import { POLICY_ANNOTATION, parsePolicy } from "../../api/output-policy.ts";
import { OUR_RUNTIME } from "../../api/runtime-names.ts";
import type { Platform } from "../../registry/descriptor.ts";
import { readEnvironment } from "../containers/env-file.ts";
import { parseMount, parseTmpfs, parseVolume } from "../containers/mounts.ts";
import { labelsOf } from "../containers/record.ts";
import { capabilityName } from "../containers/security.ts";
import type { SpecFlags } from "../containers/spec-flags.ts";
import { parseUlimit } from "../containers/ulimits.ts";
import { platformOf } from "../images/manifest.ts";
import { errorText, Problem, USAGE } from "../text/problem.ts";
import { signalNumber } from "../text/signals.ts";
import type { Check, Visit } from "./daemon-verb.ts";
import { collect, sizeArgument } from "./options.ts";

export interface RawFlags {
  readonly name?: string;
  readonly rootfs?: string;
  readonly bundle?: string;
  readonly entrypoint?: string;
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly env?: readonly string[];
  readonly envFile?: readonly string[];
  readonly cwd?: string;
  readonly workdir?: string;
  readonly user?: string;
  readonly hostname?: string;
  readonly mount?: readonly string[];
  readonly volume?: readonly string[];
  readonly tmpfs?: readonly string[];
  readonly platform?: string;
  readonly readOnly?: boolean;
  readonly memory?: number;
  readonly cpus?: number;
  readonly pidsLimit?: number;
  readonly ulimit?: readonly string[];
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  readonly net?: string;
  readonly network?: string;
  readonly stopSignal?: string;
  readonly privileged?: boolean;
  readonly securityOpt?: readonly string[];
  readonly label?: readonly string[];
  readonly annotation?: readonly string[];
  readonly logPolicy?: string;
  readonly runtime: string;
  readonly pull: string;
}

export function containerFlags(command: Command): Command {
  return command
    .option("--name <id>", "the container's id (a random one)")
    .option("--rootfs <dir>", "its root file system, in place of an image")
    .option("--bundle <dir>", "an OCI bundle: its config.json and root file system")
    .option("--entrypoint <program>", "in place of the image's")
    .option("--pull <when>", "get the image from its registry: missing, always or never", "missing")
    .option("-t, --tty", "give it a terminal")
    .option("-i, --interactive", "give it our input")
    .option(
      "-e, --env <NAME=VALUE>",
      "set a variable, or pass ours on with NAME; may be given again",
      collect,
    )
    .option(
      "--env-file <file>",
      "take variables from a file, a line each, before those of --env; may be given again",
      collect,
    )
    .option("-w, --workdir <dir>", "its working directory")
    .addOption(new Option("--cwd <dir>", "the same").hideHelp())
    .option("-u, --user <user[:group]>", "its user, by name or number")
    .option("--hostname <name>", "its host name")
    .option(
      "--mount <spec>",
      "type=bind,source=DIR,target=DIR,options=ro:nosuid; may be given again",
      collect,
    )
    .option(
      "-v, --volume <dir:dir[:ro]>",
      "a directory of the host in the container; made if need be; may be given again",
      collect,
    )
    .option(
      "--tmpfs <dir[:options]>",
      "memory as a directory, as in /tmp:size=64m; may be given again",
      collect,
    )
    .option("--platform <os/arch>", "which of an image's platforms (this machine's)")
    .option("--read-only", "do not let it write to its root file system")
    .option("-m, --memory <size>", "memory limit, such as 64m", sizeArgument)
    .option("--cpus <number>", "how many processors' time it may use, such as 0.5", cpusArgument)
    .option("--pids-limit <number>", "how many processes and threads it may have; -1 for any", pidsArgument)
    .option(
      "--ulimit <name=soft[:hard]>",
      "a limit of its processes, as in nofile=1024:4096; may be given again",
      collect,
    )
    .option("--net <host|none>", "the host's network, or none (default)")
    .addOption(new Option("--network <host|none>", "the same").hideHelp())
    .option("--stop-signal <signal>", "what stop sends it (SIGTERM)")
    .option("--privileged", "give it all capabilities and devices, and no seccomp profile")
    .option(
      "--cap-add <capability>",
      "let it do more, such as NET_ADMIN, or ALL; may be given again",
      collect,
    )
    .option("--cap-drop <capability>", "let it do less; may be given again", collect)
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
      "--log-policy <policy>",
      "what becomes of output that nobody reads: block (default), drop, spill or spill:SIZE",
    )
    .option(
      "--runtime <name>",
      "containerd's name of the shim to use (HOLDFAST_RUNTIME)",
      process.env.HOLDFAST_RUNTIME ?? OUR_RUNTIME,
    );
}

/** For commander: a number from 1 on, or -1 for none; 0 is none too, as with Docker. */
export function pidsArgument(text: string): number {
  if (text === "-1" || text === "0") return -1;
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError("give a number such as 100, or -1.");
  return Number(text);
}

/** For commander: a positive number. */
export function cpusArgument(text: string): number {
  const cpus = Number(text);
  if (!(cpus > 0)) throw new InvalidArgumentError("give a number such as 0.5 or 2.");
  return cpus;
}

export interface Wanted {
  readonly id: string;
  readonly flags: SpecFlags;
  readonly raw: RawFlags;
  /** The image's name, as it was given. */
  readonly image: string | undefined;
  readonly platform: Platform | undefined;
}

/** Throws a Problem for what no daemon is needed to see. Reads no file: what a fifo has comes once. */
export const checkContainer: Check = ({ command, words }) => {
  const raw = command.opts<RawFlags>();
  if (!hasOwnRoot(raw) && words.length === 0)
    throw new Problem("give an image, or --rootfs DIR, or --bundle DIR", USAGE);
  if (!["missing", "always", "never"].includes(raw.pull))
    throw new Problem(`--pull ${raw.pull}: this knows missing, always and never`, USAGE);
  const net = networkOf(raw);
  if (net !== undefined && net !== "host" && net !== "none")
    throw new Problem(`--net ${net}: this knows host and none`, USAGE);
  if (raw.stopSignal !== undefined) signalNumber(raw.stopSignal);
  if (raw.platform !== undefined) platformOf(raw.platform);
  for (const text of raw.ulimit ?? []) parseUlimit(text);
  for (const text of [...(raw.capAdd ?? []), ...(raw.capDrop ?? [])]) capabilityName(text);
};

const hasOwnRoot = ({ rootfs, bundle }: RawFlags): boolean => rootfs !== undefined || bundle !== undefined;
const networkOf = ({ net, network }: RawFlags): string | undefined => net ?? network;

/** The image's name, as it was given; undefined with a root file system or a bundle. */
export function imageOf({ command, words }: Visit): string | undefined {
  return hasOwnRoot(command.opts<RawFlags>()) ? undefined : words[0];
}

/** What flags and words say of a container: without a root file system or a bundle the first word is an image. */
export function readContainer({ command, words }: Visit): Wanted {
  const raw = command.opts<RawFlags>();
  const isImage = !hasOwnRoot(raw);
  const [image] = isImage ? words : [];
  const flags = {
    rootfs: raw.rootfs,
    bundle: raw.bundle,
    image: undefined,
    entrypoint: raw.entrypoint,
    command: isImage ? words.slice(1) : words,
    terminal: raw.tty === true,
    env: [...(raw.envFile ?? []).flatMap(readEnvironment), ...(raw.env ?? [])],
    cwd: raw.workdir ?? raw.cwd,
    user: raw.user,
    hostname: raw.hostname,
    mounts: [
      ...(raw.mount ?? []).map(parseMount),
      ...(raw.volume ?? []).map(parseVolume),
      ...(raw.tmpfs ?? []).map(parseTmpfs),
    ],
    declared: [],
    readOnly: raw.readOnly === true,
    memory: raw.memory,
    cpus: raw.cpus,
    pids: raw.pidsLimit,
    ulimits: (raw.ulimit ?? []).map(parseUlimit),
    hostNetwork: networkOf(raw) === "host",
    privileged: raw.privileged === true,
    securityOpts: raw.securityOpt ?? [],
    addedCapabilities: raw.capAdd ?? [],
    droppedCapabilities: raw.capDrop ?? [],
    annotations: annotationsOf(raw),
  };
  const platform = raw.platform === undefined ? undefined : platformOf(raw.platform);
  return { id: raw.name ?? randomBytes(6).toString("hex"), flags, raw, image, platform };
}

/** Throws a Problem for a policy that is none, by whichever flag it is given. */
function annotationsOf({ annotation = [], logPolicy }: RawFlags): Readonly<Record<string, string>> {
  const given = labelsOf(annotation);
  const annotations = { ...given, ...(logPolicy !== undefined && { [POLICY_ANNOTATION]: logPolicy }) };
  try {
    parsePolicy(annotations[POLICY_ANNOTATION]);
  } catch (error) {
    const flag = logPolicy === undefined ? `--annotation ${POLICY_ANNOTATION}` : "--log-policy";
    throw new Problem(`${flag}: ${errorText(error)}`, USAGE);
  }
  return annotations;
}
