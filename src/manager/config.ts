// What can be set in holdfastd, the TOML file that sets it, and the defaults. Read by command-line.ts.
import { readFileSync } from "node:fs";
import { isAbsolute } from "node:path";
import { parse, stringify } from "smol-toml";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** In ms. */
export interface Timeouts {
  /** For a shim binary's `start`. */
  readonly shimStart: number;
  /** For one shim's answer, when all are asked: the others do not wait longer than this for it. */
  readonly shimCall: number;
  /** For a shim's first answer after our own start. */
  readonly shimLoad: number;
  /** For a shim binary's `delete`. */
  readonly shimCleanup: number;
  /** For a registry to send anything, while we read from it. */
  readonly registry: number;
  /** For running calls to end when we are to stop. */
  readonly drain: number;
}

export interface Config {
  readonly root: string;
  readonly state: string;
  readonly address: string;
  readonly logLevel: LogLevel;
  /** "" for none, "host:port", or the path of a unix socket. */
  readonly metricsAddress: string;
  /** Directories with hosts.toml files by registry, with colons between them. */
  readonly hostsDir: string;
  /** Names of runtimes → paths of shim binaries, or names of other runtimes. */
  readonly runtimes: Readonly<Record<string, string>>;
  /** Whether our shims have a keeper, which starts them again when they are killed; they do where nobody says otherwise. */
  readonly keeper?: boolean;
  /** Whether another shim takes a container over whose shim and keeper were both killed; it is killed and cleaned up otherwise. So where nobody says otherwise. */
  readonly adopt?: boolean;
  readonly timeouts: Timeouts;
}

/** A setting that makes no sense. The message names where it comes from. */
export class ConfigError extends Error {}

export const DEFAULT_FILE = "/etc/holdfast/config.toml";
export const DEFAULTS: Config = {
  root: "/var/lib/holdfast",
  state: "/run/holdfast",
  address: "/run/holdfast/holdfast.sock",
  logLevel: "info",
  metricsAddress: "",
  hostsDir: "/etc/containerd/certs.d:/etc/docker/certs.d",
  runtimes: {},
  timeouts: {
    shimStart: 30_000,
    shimCall: 1000,
    shimLoad: 5000,
    shimCleanup: 5000,
    registry: 30_000,
    drain: 10_000,
  },
};
/** Node's timers take no more, and fire at once instead. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** One setting: its names, and what it takes. */
export interface Setting {
  readonly key: "root" | "state" | "address" | "logLevel" | "metricsAddress" | "hostsDir";
  readonly flag: string;
  readonly variable: string;
  readonly toml: string;
  readonly help: string;
}

export const SETTINGS: readonly Setting[] = [
  {
    key: "root",
    flag: "--root <dir>",
    variable: "HOLDFAST_ROOT",
    toml: "root",
    help: "where records are kept for good",
  },
  {
    key: "state",
    flag: "--state <dir>",
    variable: "HOLDFAST_STATE",
    toml: "state",
    help: "where bundles are, until the next boot",
  },
  {
    key: "address",
    flag: "--address <socket>",
    variable: "HOLDFAST_ADDRESS",
    toml: "address",
    help: "socket of the gRPC API (that of the events is beside it)",
  },
  {
    key: "logLevel",
    flag: "--log-level <level>",
    variable: "HOLDFAST_LOG_LEVEL",
    toml: "log_level",
    help: LOG_LEVELS.join(", "),
  },
  {
    key: "metricsAddress",
    flag: "--metrics-address <address>",
    variable: "HOLDFAST_METRICS_ADDRESS",
    toml: "metrics_address",
    help: "serve Prometheus metrics at 127.0.0.1:PORT or a socket",
  },
  {
    key: "hostsDir",
    flag: "--hosts-dir <dirs>",
    variable: "HOLDFAST_HOSTS_DIR",
    toml: "hosts_dir",
    help: "directories with a hosts.toml for each registry, with colons between them",
  },
];

const TIMEOUTS: Readonly<Record<keyof Timeouts, string>> = {
  shimStart: "shim_start",
  shimCall: "shim_call",
  shimLoad: "shim_load",
  shimCleanup: "shim_cleanup",
  registry: "registry",
  drain: "drain",
};

/** What a file sets. */
export interface ConfigFile {
  readonly path: string;
  readonly values: Partial<Record<Setting["key"], string>>;
  readonly runtimes: Record<string, string>;
  readonly keeper?: boolean;
  readonly adopt?: boolean;
  readonly timeouts: Partial<Timeouts>;
}

type ShimSwitches = Pick<ConfigFile, "keeper" | "adopt">;

/** A file that nobody named may be missing. Throws a ConfigError that names the file, and the key. Values are not looked at, but for their types. */
export function readConfigFile(path: string, isNamed: boolean): ConfigFile {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (!isNamed && (error as NodeJS.ErrnoException).code === "ENOENT")
      return { path, values: {}, runtimes: {}, timeouts: {} };
    throw new ConfigError(`cannot read ${path}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
  try {
    return readTables(path, parse(text));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${path}: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

function readTables(path: string, content: Readonly<Record<string, unknown>>): ConfigFile {
  const values: Partial<Record<Setting["key"], string>> = {};
  let runtimes: Record<string, string> = {};
  let timeouts: Partial<Timeouts> = {};
  let shim: ShimSwitches = {};
  for (const [name, value] of Object.entries(content)) {
    const setting = SETTINGS.find(({ toml }) => toml === name);
    if (setting !== undefined) values[setting.key] = textOf(path, name, value);
    else if (name === "runtimes") runtimes = readRuntimes(path, tableOf(path, name, value));
    else if (name === "shim") shim = readShim(path, tableOf(path, name, value));
    else if (name === "timeouts") timeouts = readTimeouts(path, tableOf(path, name, value));
    else throw new ConfigError(`${path}: ${name}: there is no such setting`);
  }
  return { path, values, runtimes, ...shim, timeouts };
}

function readShim(path: string, table: Readonly<Record<string, unknown>>): ShimSwitches {
  for (const [name, value] of Object.entries(table)) {
    if (name !== "keeper" && name !== "adopt")
      throw new ConfigError(`${path}: shim.${name}: there is no such setting`);
    if (typeof value !== "boolean") {
      throw new ConfigError(`${path}: shim.${name} is ${JSON.stringify(value)}: give true or false`);
    }
  }
  return table as ShimSwitches;
}

function readRuntimes(path: string, table: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(table).map(([name, value]) => {
      const runtime = textOf(path, `runtimes.${name}`, value);
      if (runtime !== "" && (isAbsolute(runtime) || !runtime.includes("/"))) return [name, runtime];
      const wanted = "give the absolute path of a shim, or the name of a runtime";
      throw new ConfigError(`${path}: runtimes.${name} is ${JSON.stringify(runtime)}: ${wanted}`);
    }),
  );
}

function readTimeouts(path: string, table: Readonly<Record<string, unknown>>): Partial<Timeouts> {
  const known = new Map(Object.entries(TIMEOUTS).map(([key, name]) => [name, key]));
  return Object.fromEntries(
    Object.entries(table).map(([name, value]) => {
      const key = known.get(name);
      if (key === undefined) throw new ConfigError(`${path}: timeouts.${name}: there is no such setting`);
      if (typeof value !== "number" || !Number.isInteger(value) || value <= 0 || value > MAX_TIMEOUT_MS) {
        const wanted = `a whole number of milliseconds, from 1 to ${MAX_TIMEOUT_MS}`;
        throw new ConfigError(`${path}: timeouts.${name} is ${JSON.stringify(value)}: give ${wanted}`);
      }
      return [key, value];
    }),
  );
}

function textOf(path: string, name: string, value: unknown): string {
  if (typeof value !== "string")
    throw new ConfigError(`${path}: ${name} is ${JSON.stringify(value)}: give a text in quotes`);
  return value;
}

function tableOf(path: string, name: string, value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ConfigError(`${path}: ${name} is ${JSON.stringify(value)}: give a table`);
  return value as Record<string, unknown>;
}

/** The file that sets exactly this. */
export function configText({ runtimes, timeouts, keeper, adopt, ...settings }: Config): string {
  const plain = Object.fromEntries(SETTINGS.map(({ key, toml }) => [toml, settings[key]]));
  const times = Object.fromEntries(
    Object.entries(TIMEOUTS).map(([key, name]) => [name, timeouts[key as keyof Timeouts]]),
  );
  const switches = { ...(keeper !== undefined && { keeper }), ...(adopt !== undefined && { adopt }) };
  const shim = Object.keys(switches).length === 0 ? {} : { shim: switches };
  return stringify({ ...plain, runtimes, ...shim, timeouts: times });
}

/** A commented file that sets exactly the defaults. */
export function defaultConfigText(): string {
  const settings = SETTINGS.map(
    ({ key, toml, flag, variable, help }) =>
      `# ${help}\n# ${flag.split(" ")[0]}, ${variable}\n${toml} = ${JSON.stringify(DEFAULTS[key])}\n`,
  );
  const { shimStart, shimCall, shimLoad, shimCleanup, registry, drain } = DEFAULTS.timeouts;
  return `# Configuration of holdfastd; flags and environment go before it.

${settings.join("\n")}
# Runtimes by name: the path of a shim binary, or the name of another runtime. Without an entry io.containerd.NAME.VERSION is
# containerd-shim-NAME-VERSION on the PATH. With this line, what asks for containerd's own shim (Docker, ctr) gets ours:
# "io.containerd.runc.v2" = "io.containerd.holdfast.v2"
[runtimes]

# A process beside each of our shims starts it again when it is killed; if both are, another shim takes the container over. Not with these lines (without the
# second, the container is killed and cleaned up then, as containerd does):
# [shim]
# keeper = false
# adopt = false

# In milliseconds.
[timeouts]
# for a shim to start
shim_start = ${shimStart}
# for each shim's answer when all containers are listed
shim_call = ${shimCall}
# for a shim's first answer after holdfastd has restarted
shim_load = ${shimLoad}
# for cleaning up after a dead shim
shim_cleanup = ${shimCleanup}
# for a registry to send anything
registry = ${registry}
# for running calls to end at SIGTERM
drain = ${drain}
`;
}
