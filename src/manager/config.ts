// holdfastd's command line and configuration: flags beat the environment, which beats a TOML file, which beats the defaults. cmd/daemon/main.ts reads it.
import { readFileSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { Command, CommanderError } from "commander";
import { parse, stringify } from "smol-toml";
import { VERSION } from "./version.ts";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error"] as const;
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
  /** For running calls to end when we are told to stop. */
  readonly drain: number;
}

export interface Config {
  readonly root: string;
  readonly state: string;
  readonly address: string;
  readonly logLevel: LogLevel;
  /** "" for none, "host:port", or the path of a unix socket. */
  readonly metricsAddress: string;
  /** Names of runtimes → paths of shim binaries, or names of other runtimes. */
  readonly runtimes: Readonly<Record<string, string>>;
  readonly timeouts: Timeouts;
}

export type CommandLine =
  | { readonly action: "serve"; readonly config: Config }
  | { readonly action: "print"; readonly text: string };

/** A setting that makes no sense. The message names where it comes from. */
export class ConfigError extends Error {}

const DEFAULT_FILE = "/etc/holdfast/config.toml";
const DEFAULTS: Config = {
  root: "/var/lib/holdfast",
  state: "/run/holdfast",
  address: "/run/holdfast/holdfast.sock",
  logLevel: "info",
  metricsAddress: "",
  runtimes: {},
  timeouts: { shimStart: 30_000, shimCall: 1000, shimLoad: 5000, shimCleanup: 5000, drain: 10_000 },
};
/** A unix address holds 107 bytes, and the events' socket has 6 more than ours. */
const MAX_ADDRESS_BYTES = 101;
const MAX_METRICS_ADDRESS_BYTES = 107;
const MAX_PORT = 65_535;
/** Node's timers take no more, and fire at once instead. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** One setting: its names, and what it takes. */
interface Setting {
  readonly key: "root" | "state" | "address" | "logLevel" | "metricsAddress";
  readonly flag: string;
  readonly variable: string;
  readonly toml: string;
  readonly help: string;
}

const SETTINGS: readonly Setting[] = [
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
];

const TIMEOUTS: Readonly<Record<keyof Timeouts, string>> = {
  shimStart: "shim_start",
  shimCall: "shim_call",
  shimLoad: "shim_load",
  shimCleanup: "shim_cleanup",
  drain: "drain",
};

/** Throws a ConfigError. `argv` is without the program. */
export function parseCommandLine(argv: readonly string[], env: NodeJS.ProcessEnv): CommandLine {
  let result: CommandLine | undefined;
  let printed = "";
  const program = new Command("holdfastd")
    .description("Runs containers, one small shim process for each, and serves containerd's API.")
    .version(VERSION, "-v, --version")
    .exitOverride()
    .configureOutput({ writeOut: (text) => (printed += text), writeErr: () => {} })
    .option("-c, --config <file>", `a TOML file (${DEFAULT_FILE}; HOLDFAST_CONFIG)`);
  for (const { flag, variable, help } of SETTINGS) program.option(flag, `${help} (${variable})`);
  program.action(() => {
    result = { action: "serve", config: load(program.opts(), env) };
  });
  const config = program.command("config").description("print a configuration");
  config
    .command("default")
    .description("all settings with what they are unless set")
    .action(() => {
      result = { action: "print", text: defaultConfigText() };
    });
  config
    .command("dump")
    .description("the settings in force")
    .action(() => {
      result = { action: "print", text: configText(load(program.opts(), env)) };
    });
  try {
    program.parse([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { action: "print", text: printed };
    throw new ConfigError(error.message.replace(/^error: /, ""), { cause: error });
  }
  if (result === undefined) throw new ConfigError("config: give default or dump");
  return result;
}

function load(flags: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): Config {
  const named = flags.config ?? givenIn(env, "HOLDFAST_CONFIG");
  const file = readFile(named ?? DEFAULT_FILE, named !== undefined);
  const chosen = new Map<Setting["key"], Choice>();
  for (const { key, flag, variable, toml } of SETTINGS) {
    const choice = [
      { source: flag.split(" ")[0] ?? flag, value: flags[key] },
      { source: variable, value: givenIn(env, variable) },
      { source: `${file.path}: ${toml}`, value: file.values[key] },
    ].find((choice): choice is Choice => choice.value !== undefined);
    if (choice === undefined) continue;
    demandSensible(key, choice);
    chosen.set(key, choice);
  }
  const valueOf = (key: Setting["key"]): string => chosen.get(key)?.value ?? DEFAULTS[key];
  const [root, state] = [valueOf("root"), valueOf("state")];
  if (resolve(root) === resolve(state)) throw new ConfigError(`root and state are both ${root}: give two`);
  if (!chosen.has("address")) {
    // It goes where the state goes.
    const source = `the socket under ${chosen.get("state")?.source ?? "state"}`;
    const choice = { source, value: join(state, "holdfast.sock") };
    demandSensible("address", choice);
    chosen.set("address", choice);
  }
  return {
    root,
    state,
    address: valueOf("address"),
    logLevel: valueOf("logLevel") as LogLevel,
    metricsAddress: valueOf("metricsAddress"),
    runtimes: file.runtimes,
    timeouts: { ...DEFAULTS.timeouts, ...file.timeouts },
  };
}

/** A value, and where it was given. */
interface Choice {
  readonly source: string;
  readonly value: string;
}

/** An empty variable is none. */
function givenIn(env: NodeJS.ProcessEnv, variable: string): string | undefined {
  return env[variable] === "" ? undefined : env[variable];
}

/** Throws a ConfigError that says where the value was given, and what would do. */
function demandSensible(key: Setting["key"], { source, value }: Choice): void {
  const demand = (holds: boolean, wanted: string): void => {
    if (!holds) throw new ConfigError(`${source} is ${JSON.stringify(value)}: give ${wanted}`);
  };
  const demandSocket = (most: number): void =>
    demand(Buffer.byteLength(value) <= most, `a path of at most ${most} bytes`);
  if (key === "logLevel") {
    demand((LOG_LEVELS as readonly string[]).includes(value), `one of ${LOG_LEVELS.join(", ")}`);
  } else if (key === "metricsAddress") {
    if (isAbsolute(value)) demandSocket(MAX_METRICS_ADDRESS_BYTES);
    else {
      const port = /^[^\s/]+:(\d{1,5})$/.exec(value)?.[1];
      demand(
        value === "" || Number(port ?? Infinity) <= MAX_PORT,
        "host:port or the absolute path of a socket",
      );
    }
  } else {
    demand(isAbsolute(value), "an absolute path");
    if (key === "address") demandSocket(MAX_ADDRESS_BYTES);
  }
}

interface ConfigFile {
  readonly path: string;
  readonly values: Partial<Record<Setting["key"], string>>;
  readonly runtimes: Record<string, string>;
  readonly timeouts: Partial<Timeouts>;
}

/** A file that nobody named may be missing. */
function readFile(path: string, isNamed: boolean): ConfigFile {
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
  for (const [name, value] of Object.entries(content)) {
    const setting = SETTINGS.find(({ toml }) => toml === name);
    if (setting !== undefined) values[setting.key] = textOf(path, name, value);
    else if (name === "runtimes") runtimes = readRuntimes(path, tableOf(path, name, value));
    else if (name === "timeouts") timeouts = readTimeouts(path, tableOf(path, name, value));
    else throw new ConfigError(`${path}: ${name}: there is no such setting`);
  }
  return { path, values, runtimes, timeouts };
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

function configText({ runtimes, timeouts, ...settings }: Config): string {
  const plain = Object.fromEntries(SETTINGS.map(({ key, toml }) => [toml, settings[key]]));
  const times = Object.fromEntries(
    Object.entries(TIMEOUTS).map(([key, name]) => [name, timeouts[key as keyof Timeouts]]),
  );
  return stringify({ ...plain, runtimes, timeouts: times });
}

/** A commented file that sets exactly the defaults. */
export function defaultConfigText(): string {
  const settings = SETTINGS.map(
    ({ key, toml, flag, variable, help }) =>
      `# ${help}\n# ${flag.split(" ")[0]}, ${variable}\n${toml} = ${JSON.stringify(DEFAULTS[key])}\n`,
  );
  const { shimStart, shimCall, shimLoad, shimCleanup, drain } = DEFAULTS.timeouts;
  return `# Configuration of holdfastd; flags and environment go before it.

${settings.join("\n")}
# Runtimes by name: the path of a shim binary, or the name of another runtime. Without an entry io.containerd.NAME.VERSION is
# containerd-shim-NAME-VERSION on the PATH. With this line, what asks for containerd's own shim (Docker, ctr) gets ours:
# "io.containerd.runc.v2" = "io.containerd.holdfast.v2"
[runtimes]

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
# for running calls to end at SIGTERM
drain = ${drain}
`;
}
