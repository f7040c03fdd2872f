// holdfastd's command line: flags beat the environment, which beats a TOML file, which beats the defaults. cmd/daemon/main.ts reads it.

import { isAbsolute, join, resolve } from "node:path";
import { Command, CommanderError } from "commander";
import { VERSION } from "../api/version.ts";
import {
  type Config,
  ConfigError,
  configText,
  DEFAULT_FILE,
  DEFAULTS,
  defaultConfigText,
  LOG_LEVELS,
  type LogLevel,
  readConfigFile,
  SETTINGS,
  type Setting,
} from "./config.ts";

export type CommandLine =
  | { readonly action: "serve"; readonly config: Config }
  | { readonly action: "print"; readonly text: string };

/** A unix address holds 107 bytes, and the events' socket has 6 more than ours. */
const MAX_ADDRESS_BYTES = 101;
const MAX_METRICS_ADDRESS_BYTES = 107;
const MAX_PORT = 65_535;
const NO_COMMAND = "config: give default or dump";

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
    const message = error.code === "commander.help" ? NO_COMMAND : error.message.replace(/^error: /, "");
    throw new ConfigError(message, { cause: error });
  }
  if (result === undefined) throw new ConfigError(NO_COMMAND);
  return result;
}

function load(flags: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): Config {
  const named = flags.config ?? givenIn(env, "HOLDFAST_CONFIG");
  const file = readConfigFile(named ?? DEFAULT_FILE, named !== undefined);
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
  const settingOf = (key: Setting["key"]): string => chosen.get(key)?.value ?? DEFAULTS[key];
  const [root, state] = [settingOf("root"), settingOf("state")];
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
    address: settingOf("address"),
    logLevel: settingOf("logLevel") as LogLevel,
    metricsAddress: settingOf("metricsAddress"),
    hostsDir: settingOf("hostsDir"),
    runtimes: file.runtimes,
    ...(file.keeper !== undefined && { keeper: file.keeper }),
    ...(file.adopt !== undefined && { adopt: file.adopt }),
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
  } else if (key === "hostsDir") {
    demand(
      value.split(":").every((path) => path === "" || isAbsolute(path)),
      "absolute paths with colons between them",
    );
  } else {
    demand(isAbsolute(value), "an absolute path");
    if (key === "address") demandSocket(MAX_ADDRESS_BYTES);
  }
}
