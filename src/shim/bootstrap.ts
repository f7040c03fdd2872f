// `start`: finds or starts the shim of a container's group and answers with its address. Called by cmd/shim/main.ts, in the bundle.
import { holds, RUNC_OPTIONS, RUNTIME_OPTIONS } from "../api/any.ts";
import { BootstrapParams, BootstrapResult } from "../api/generated/bootstrap.ts";
import { Any } from "../api/generated/google/protobuf/any.ts";
import { withoutV1 } from "../api/v1-options.ts";
import { joinCgroup } from "../cgroup/cgroup.ts";
import { errorText } from "../log/log.ts";
import { failpoint } from "../platform/failpoint.ts";
import type { Platform } from "../platform/platform.ts";
import { readSpec } from "../runc/bundle.ts";
import { readOptions } from "../runc/options.ts";
import type { Arguments } from "./args.ts";
import { inodeAt, type Legacy, type ServeConfig, serve } from "./serve.ts";
import { SERVED_SIGNALS } from "./signals.ts";
import { bindSocket, hasOnlyVersion3, socketPath } from "./socket.ts";

/** Annotations that put containers into one shim, first match first. */
const GROUP_ANNOTATIONS = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];
const LOG_LEVEL_DEBUG = -4;
const KEEPER_ANNOTATION = "io.holdfast.keeper";
const OFF = ["off", "false", "0"];

/** What the daemon says on stdin: nothing, options, or since containerd 2.3 all parameters. */
interface Request {
  readonly params: BootstrapParams | undefined;
  readonly options: Any | undefined;
}

/**
 * Starts the shim. With a keeper this process serves, and the one that the daemon has run ends when it does; without one this process ends with the answer
 * on stdout, and a forked one serves. Rejects if the shim cannot be started.
 */
export async function start(platform: Platform, args: Arguments): Promise<void> {
  const { self, files, fds } = platform;
  const bundle = self.workingDirectory();
  const request = readRequest(platform, args);
  const { shimCgroup, keeper: mayBeKept } = readOptions(platform, request.options);
  const { annotations } = readSpec(platform, bundle);
  const group =
    GROUP_ANNOTATIONS.map((name) => annotations[name]).find((key) => key !== undefined) ?? args.id;
  const directory = request.params?.socketDir;
  const path = socketPath(platform, {
    address: args.address,
    namespace: args.namespace,
    group,
    ...(directory && { directory }),
  });
  const wantsKeeper = mayBeKept && isKeeperWanted(self.environment, annotations);
  const keeper = wantsKeeper ? keeperOf(platform) : 0;
  const listener = await bindSocket(platform, path);
  const address = `unix://${path}`;
  const answer = (joinsNewer = false): void => {
    files.replace(`${bundle}/address`, address, 0o600);
    fds.write(1, encodeAnswer(platform, request, address, joinsNewer));
  };
  if (listener !== undefined) {
    failpoint("start:bound");
    try {
      joinCgroup(platform, shimCgroup, [self.pid(), keeper]);
      if (self.environment.SCHED_CORE) enableCoreScheduling(platform);
      const config = {
        ...configOf(platform, args, request),
        bundle,
        listener,
        socket: path,
        wantsKeeper,
        keeper,
      };
      servingWith(platform, config, answer);
      return;
    } catch (error) {
      // First the name, as whoever comes next must not lose its own.
      files.remove(path);
      fds.close(listener);
      throw error;
    }
  }
  answer(request.params === undefined && listener === undefined && (await hasOnlyVersion3(platform, path)));
  self.exit(0);
}

/** Has this process serve, or a child of it, and answers whoever has run it. It returns in the process that serves only. */
export function servingWith(
  platform: Platform,
  config: ServeConfig,
  answer: () => void,
  legacy?: Legacy,
): void {
  const { self } = platform;
  // Blocked from before the fork: one that comes before the shim is ready waits, and does not kill it with its socket left behind.
  self.onSignals(SERVED_SIGNALS, () => {});
  if (config.keeper === 0 && self.fork() > 0) {
    answer();
    self.exit(0);
  }
  if (config.keeper > 0) answer();
  serve(platform, config, legacy);
}

/** How a shim serves in place of one that is dead: as that one, with what is this process's own. */
export function readyConfig(platform: Platform, args: Arguments, former: ServeConfig): ServeConfig {
  const { environment } = platform.self;
  const keeper = former.wantsKeeper && isKeeperWanted(environment, {}) ? keeperOf(platform) : 0;
  const own = configOf(platform, args, { params: undefined, options: undefined });
  return { ...former, ...own, keeper, socketInode: inodeAt(platform, former.socket) };
}

function keeperOf({ keeping }: Platform): number {
  return keeping.keeper()?.pid ?? 0;
}

/** Turned off by the daemon's environment for all its shims, and by an annotation for a container or a pod. */
function isKeeperWanted(
  environment: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
): boolean {
  return !OFF.includes(annotations[KEEPER_ANNOTATION] ?? environment.HOLDFAST_KEEPER ?? "");
}

function readRequest(platform: Platform, args: Arguments): Request {
  const input = platform.fds.readToEnd(0);
  if (input.length === 0) return { params: undefined, options: undefined };
  const params = decode(BootstrapParams, input);
  // Options can decode as parameters by accident; nobody else repeats the id and the namespace of the command line.
  if (params !== undefined && params.instanceId === args.id && params.namespace === args.namespace) {
    return {
      params,
      options: params.extensions.find(({ value }) => value !== undefined && isOptions(value))?.value,
    };
  }
  const options = decode(Any, input);
  if (options === undefined) throw new Error("stdin: neither options nor bootstrap parameters");
  return { params: undefined, options };
}

function decode<T>(codec: { decode(input: Uint8Array): T }, input: Uint8Array): T | undefined {
  try {
    return codec.decode(input);
  } catch {
    return undefined;
  }
}

function isOptions(any: Any): boolean {
  return holds(any, RUNTIME_OPTIONS) || holds(withoutV1(any), RUNC_OPTIONS);
}

/**
 * Daemons before 2.3 take the plain address for version 2 of the task API; newer ones are answered with version 3. So is one of 2.0 to 2.2, in the
 * JSON that it knows, about a shim of a group that has no version 2: it was started by such a daemon.
 */
function encodeAnswer(
  platform: Platform,
  request: Request,
  address: string,
  joinsNewer: boolean,
): Uint8Array {
  const protocol = "ttrpc";
  if (request.params === undefined) {
    return platform.text.encode(joinsNewer ? JSON.stringify({ version: 3, address, protocol }) : address);
  }
  const result: BootstrapResult = { version: 3, address, protocol, capabilities: [], metadata: {} };
  return BootstrapResult.encode(result).finish();
}

/** What follows from who has run this process, and how. */
function configOf(
  platform: Platform,
  args: Arguments,
  { params }: Request,
): Omit<ServeConfig, "bundle" | "listener" | "socket" | "keeper"> {
  const { TTRPC_ADDRESS, HOLDFAST_ADOPT } = platform.self.environment;
  const derived = args.address === "" ? "" : `${args.address}.ttrpc`;
  return {
    namespace: args.namespace,
    isAdoptable: HOLDFAST_ADOPT === "on",
    eventsAddress: withoutScheme(params?.containerdTtrpcAddress || TTRPC_ADDRESS || derived),
    oomScoreAdj: daemonOomScore(platform),
    debug: args.debug || (params !== undefined && params.logLevel <= LOG_LEVEL_DEBUG),
  };
}

/** Daemons name their sockets by path, or as unix://path. */
function withoutScheme(address: string): string {
  return address.startsWith("unix://") ? address.slice("unix://".length) : address;
}

/** Who runs `start` is the daemon. */
function daemonOomScore({ files, self }: Platform): number {
  return Number(files.read(`/proc/${self.starterPid()}/oom_score_adj`, 64));
}

/** The daemon asks for it by `sched_core` in its configuration: a shim and its containers share cores with nobody else. */
function enableCoreScheduling({ self }: Platform): void {
  try {
    self.createSchedulingCore();
  } catch (error) {
    throw new Error(`enable sched core support: ${errorText(error)}`);
  }
}
