// Flags over the environment over the file over the defaults, and what each error says.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { parseCommandLine } from "../../src/manager/command-line.ts";
import {
  type Config,
  ConfigError,
  configText,
  DEFAULTS,
  defaultConfigText,
} from "../../src/manager/config.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-config-"));
after(() => rmSync(directory, { recursive: true }));

const path = join(directory, "config.toml");
function fileWith(text: string): string {
  writeFileSync(path, text);
  return path;
}

/** What is served, with a file of this text. */
function configOf(text: string, argv: readonly string[] = [], env: Record<string, string> = {}): Config {
  const command = parseCommandLine(["--config", fileWith(text), ...argv], env);
  assert.ok(command.action === "serve");
  return command.config;
}

function printed(argv: readonly string[], env: Record<string, string> = {}): string {
  const command = parseCommandLine(argv, env);
  assert.ok(command.action === "print");
  return command.text;
}

function refusal(argv: readonly string[], env: Record<string, string> = {}): string {
  try {
    parseCommandLine(argv, env);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  return assert.fail(`${argv} was taken`);
}

test("nothing set is the defaults", () => {
  assert.deepEqual(configOf(""), DEFAULTS);
});

test("the default file, which is printed, sets exactly the defaults", () => {
  assert.equal(printed(["config", "default"]), defaultConfigText());
  assert.deepEqual(configOf(defaultConfigText()), DEFAULTS);
  for (const line of defaultConfigText()
    .split("\n")
    .filter((line) => /^(\w+) = /.test(line))) {
    assert.equal(
      refusal(["-c", fileWith(line.replace(/=.*/, "= true"))]).startsWith(`${path}: `),
      true,
      line,
    );
  }
});

test("a flag beats a variable, which beats the file, which beats the default", () => {
  const text = 'root = "/file/root"\nlog_level = "warn"\nmetrics_address = "127.0.0.1:9100"\n';
  const env = { HOLDFAST_ROOT: "/env/root", HOLDFAST_LOG_LEVEL: "error" };
  const { root, logLevel, metricsAddress, state } = configOf(text, ["--root", "/flag/root"], env);
  assert.deepEqual(
    { root, logLevel, metricsAddress, state },
    { root: "/flag/root", logLevel: "error", metricsAddress: "127.0.0.1:9100", state: DEFAULTS.state },
  );
});

test("every setting has a flag and a variable", () => {
  const wanted = {
    root: "/r",
    state: "/s",
    address: "/a.sock",
    logLevel: "trace",
    metricsAddress: "/m.sock",
    hostsDir: "/h:/i",
  };
  const flags = [
    "--root=/r",
    "--state=/s",
    "--address=/a.sock",
    "--log-level=trace",
    "--metrics-address=/m.sock",
    "--hosts-dir=/h:/i",
  ];
  const env = {
    HOLDFAST_ROOT: "/r",
    HOLDFAST_STATE: "/s",
    HOLDFAST_ADDRESS: "/a.sock",
    HOLDFAST_LOG_LEVEL: "trace",
    HOLDFAST_METRICS_ADDRESS: "/m.sock",
    HOLDFAST_HOSTS_DIR: "/h:/i",
  };
  const { timeouts, runtimes } = DEFAULTS;
  assert.deepEqual(configOf("", flags), { ...wanted, timeouts, runtimes });
  assert.deepEqual(configOf("", [], env), { ...wanted, timeouts, runtimes });
});

test("an empty variable is none", () => {
  const env = { HOLDFAST_ROOT: "", HOLDFAST_METRICS_ADDRESS: "" };
  assert.equal(configOf('root = "/r"', [], env).root, "/r");
});

test("the socket goes where the state goes, unless it is given", () => {
  assert.equal(configOf('state = "/s"').address, "/s/holdfast.sock");
  assert.equal(configOf('address = "/a"', ["--state", "/s"]).address, "/a");
});

test("the file may be named by HOLDFAST_CONFIG; a named one must be there", () => {
  const named = { HOLDFAST_CONFIG: fileWith('root = "/named"') };
  assert.match(printed(["config", "dump"], named), /^root = "\/named"$/m);
  const missing = join(directory, "missing.toml");
  assert.match(refusal([], { HOLDFAST_CONFIG: missing }), new RegExp(`cannot read ${missing}: ENOENT`));
  assert.match(refusal(["-c", directory]), new RegExp(`cannot read ${directory}: EISDIR`));
});

test("runtimes and single timeouts are set by the file", () => {
  const { runtimes, timeouts } = configOf(
    '[runtimes]\n"io.containerd.runc.v2" = "io.containerd.holdfast.v2"\nmine = "/opt/shim"\n[timeouts]\ndrain = 5\n',
  );
  assert.deepEqual(runtimes, { "io.containerd.runc.v2": "io.containerd.holdfast.v2", mine: "/opt/shim" });
  assert.deepEqual(timeouts, { ...DEFAULTS.timeouts, drain: 5 });
});

const BAD_FILES: readonly (readonly [text: string, message: string])[] = [
  ["rot = 1", "rot: there is no such setting"],
  ["root = 1", "root is 1: give a text in quotes"],
  ['root = "var"', 'root is "var": give an absolute path'],
  ['state = ""', 'state is "": give an absolute path'],
  ['log_level = "loud"', 'log_level is "loud": give one of trace, debug, info, warn, error'],
  [`address = "/${"a".repeat(101)}"`, `address is "/${"a".repeat(101)}": give a path of at most 101 bytes`],
  ['metrics_address = "9100"', 'metrics_address is "9100": give host:port or the absolute path of a socket'],
  [
    'metrics_address = "[::1]:65536"',
    'metrics_address is "[::1]:65536": give host:port or the absolute path of a socket',
  ],
  ["runtimes = 1", "runtimes is 1: give a table"],
  ["[runtimes]\nx = true", "runtimes.x is true: give a text in quotes"],
  [
    '[runtimes]\nx = "bin/shim"',
    'runtimes.x is "bin/shim": give the absolute path of a shim, or the name of a runtime',
  ],
  ["[timeouts]\ndrian = 1", "timeouts.drian: there is no such setting"],
  ["[shim]\nkeper = true", "shim.keper: there is no such setting"],
  ['[shim]\nkeeper = "off"', 'shim.keeper is "off": give true or false'],
  [
    "[timeouts]\ndrain = 1.5",
    "timeouts.drain is 1.5: give a whole number of milliseconds, from 1 to 2147483647",
  ],
  ["[timeouts]\ndrain = 0", "timeouts.drain is 0: give a whole number of milliseconds, from 1 to 2147483647"],
  [
    '[timeouts]\ndrain = "1"',
    'timeouts.drain is "1": give a whole number of milliseconds, from 1 to 2147483647',
  ],
  [
    "[timeouts]\ndrain = 2147483648",
    "timeouts.drain is 2147483648: give a whole number of milliseconds, from 1 to 2147483647",
  ],
];

for (const [text, message] of BAD_FILES) {
  test(`a file with ${JSON.stringify(text.slice(0, 40))} is refused by file and key`, () => {
    assert.equal(refusal(["-c", fileWith(text)]), `${path}: ${message}`);
  });
}

test("a file that is no TOML is refused with the line", () => {
  assert.match(
    refusal(["-c", fileWith('root = "/r"\nstate = \n')]),
    new RegExp(`^${path}: .*\n2: +state =`, "s"),
  );
});

test("flags and variables are refused by their names", () => {
  assert.equal(refusal(["--root", "var"]), '--root is "var": give an absolute path');
  assert.equal(
    refusal([], { HOLDFAST_LOG_LEVEL: "loud" }),
    'HOLDFAST_LOG_LEVEL is "loud": give one of trace, debug, info, warn, error',
  );
  assert.match(
    refusal(["--state", `/${"s".repeat(100)}`]),
    /^the socket under --state is .*at most 101 bytes$/,
  );
  assert.equal(refusal(["--root", "/a/", "--state", "/a"]), "root and state are both /a/: give two");
});

test("a command line that makes no sense is refused", () => {
  assert.equal(refusal(["--nix"]), "unknown option '--nix'");
  assert.equal(refusal(["--root"]), "option '--root <dir>' argument missing");
  assert.equal(refusal(["config"]), "config: give default or dump");
  assert.equal(refusal(["config", "nix"]), "unknown command 'nix'");
  assert.match(refusal(["nix"]), /^too many arguments/);
});

test("--help and --version print", () => {
  assert.match(printed(["--help"]), /^Usage: holdfastd .*--metrics-address.*HOLDFAST_METRICS_ADDRESS/s);
  assert.match(printed(["config", "--help"]), /default .*dump /s);
  assert.match(printed(["--version"]), /^\d+\.\d+\.\d+\n$/);
});

test("what config dump prints sets the same again, with flags on either side", () => {
  const runtimes = { "a.b": "/opt/x", 'qu"ote': "y", __proto__x: "z" };
  const config: Config = { ...DEFAULTS, root: '/r "q" \\', logLevel: "debug", runtimes };
  const text = configText(config);
  assert.deepEqual(configOf(text), config);
  assert.equal(printed(["--config", fileWith(text), "config", "dump"]), text);
  assert.equal(printed(["config", "dump", "--config", fileWith(text)]), text);
});

test("a configuration survives being written and read, whatever its texts", () => {
  const name = fc
    .string({ unit: "grapheme", minLength: 1, maxLength: 8 })
    .filter((text) => !text.includes("/") && text !== "__proto__");
  const ms = fc.integer({ min: 1, max: 2 ** 31 - 1 });
  fc.assert(
    fc.property(
      name,
      fc.dictionary(name, name, { maxKeys: 3, noNullPrototype: true }),
      ms,
      (part, runtimes, drain) => {
        const config: Config = {
          ...DEFAULTS,
          root: `/r/${part}`,
          runtimes,
          timeouts: { ...DEFAULTS.timeouts, drain },
        };
        assert.deepEqual(configOf(configText(config)), config);
      },
    ),
  );
});
