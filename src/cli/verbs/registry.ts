// `holdfast pull`, `push`, `login` and `logout`: images of registries, and who we are to these.
import { existsSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import type { Command } from "commander";
import { registryHosts } from "../../registry/hosts.ts";
import { checkLogin } from "../../registry/login.ts";
import { eraseLogin, storeLogin } from "../images/credentials.ts";
import { type PullFlags, pullImage, pushImage, type RegistryFlags } from "../images/pull.ts";
import { Problem, USAGE } from "../text/problem.ts";
import { complain } from "../text/screen.ts";
import { daemonVerb, type Visit } from "./daemon-verb.ts";
import { collect, commonFlags, examples, settingsOf } from "./options.ts";

const HUB = "docker.io";
const HOSTS_DIRS = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];
const IDLE_MS = 30_000;

export function addRegistryVerbs(program: Command): void {
  const pull = daemonVerb(program, "pull <image>", "get an image from its registry", pullVerb)
    .option("-q, --quiet", "print its name only")
    .option("--platform <os/arch>", "for another machine, such as linux/arm64; may be given again", collect)
    .option("--all-platforms", "for every machine that there is one for");
  registryFlags(pull);
  examples(
    pull,
    ["holdfast pull redis:7", "from Docker Hub: docker.io/library/redis:7"],
    ["holdfast pull localhost:5000/app:1", "from a registry on this machine, with TLS or without"],
  );
  const push = daemonVerb(
    program,
    "push <image> [name]",
    "send an image to its registry, or to that of another name",
    pushVerb,
  )
    .option("-q, --quiet", "print its name only")
    .option("--platform <os/arch>", "of an image for several machines this one alone", collect);
  registryFlags(push);
  examples(push, ["holdfast push redis:7 localhost:5000/cache:7", "an image under another name"]);
  const login = program
    .command("login [registry]")
    .description("keep a user and a password for a registry, in Docker's ~/.docker/config.json")
    .option("-u, --username <name>", "the user")
    .option("-p, --password <password>", "the password (others may see it in ps)")
    .option("--password-stdin", "read the password from our input");
  commonFlags(registryFlags(login, false), { daemon: false }).action(() => loginVerb(login));
  examples(login, ["holdfast login -u me registry.example.com", "asks for the password"]);
  const logout = program.command("logout [registry]").description("forget what login has kept");
  commonFlags(logout, { daemon: false }).action(() => logoutVerb(logout));
  examples(logout, ["holdfast logout registry.example.com", "the user and the password are gone"]);
}

/** Flags that say how a registry is talked to. */
export function registryFlags(command: Command, withUser = true): Command {
  if (withUser)
    command.option("--user <user:password>", "who we are to the registry, in place of what login has kept");
  return command
    .option("--plain-http", "without TLS")
    .option("--hosts-dir <dir>", "where hosts.toml files are, as containerd has them");
}

async function pullVerb({ daemon, words, command, settings }: Visit): Promise<void> {
  const [text = ""] = words;
  const flags = command.opts<PullFlags & { quiet?: boolean }>();
  const { screen } = settings;
  const isQuiet = flags.quiet === true || screen.json;
  screen.id(await pullImage(daemon, text, flags, process.stdout, isQuiet));
}

async function pushVerb({ daemon, words, command, settings }: Visit): Promise<void> {
  const [text = "", as] = words;
  const flags = command.opts<PullFlags & { quiet?: boolean }>();
  const { screen } = settings;
  const isQuiet = flags.quiet === true || screen.json;
  screen.id(await pushImage(daemon, text, as, flags, process.stdout, isQuiet));
}

interface LoginFlags extends RegistryFlags {
  readonly username?: string;
  readonly password?: string;
  readonly passwordStdin?: boolean;
}

async function loginVerb(command: Command): Promise<void> {
  const { screen } = settingsOf(command);
  const flags = command.opts<LoginFlags>();
  const host = hostOf(command.args[0]);
  const username = flags.username ?? (await ask("Username: "));
  const secret = await passwordOf(flags);
  if (username === "" || secret === "") throw new Problem("give a user and a password", USAGE);
  const directories = flags.hostsDir?.split(":") ?? HOSTS_DIRS.filter((path) => existsSync(path));
  const defaultScheme = flags.plainHttp === true ? "http" : "";
  const hosts = registryHosts(host, { directories, defaultScheme, notice: complain });
  await checkLogin(host, hosts, { username, secret, header: "" }, IDLE_MS);
  const place = await storeLogin(host, { username, secret });
  if (screen.json) screen.value({ registry: host, username, kept: place });
  else screen.line(`${username} at ${host}: kept in ${place}`);
}

async function logoutVerb(command: Command): Promise<void> {
  const { screen } = settingsOf(command);
  const host = hostOf(command.args[0]);
  const was = await eraseLogin(host);
  if (screen.json) screen.value({ registry: host, forgotten: was });
  else screen.line(was ? `${host}: forgotten` : `${host}: nothing was kept`);
}

/** People give addresses too. */
function hostOf(text: string | undefined): string {
  const host = (text ?? HUB).replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  if (!/^[\w.:[\]-]+$/.test(host)) throw new Problem(`${text}: no registry`, USAGE);
  return host;
}

async function passwordOf({ password, passwordStdin }: LoginFlags): Promise<string> {
  if (password !== undefined && passwordStdin === true)
    throw new Problem("--password or --password-stdin: give one", USAGE);
  if (password !== undefined) return password;
  if (passwordStdin !== true) return ask("Password: ", true);
  const parts: Buffer[] = [];
  for await (const chunk of process.stdin) parts.push(chunk as Buffer);
  return Buffer.concat(parts)
    .toString()
    .replace(/\r?\n$/, "");
}

/** What is typed is not shown if it `isSecret`. */
async function ask(question: string, isSecret = false): Promise<string> {
  if (!process.stdin.isTTY)
    throw new Problem("no terminal to ask at: give --username and --password-stdin", USAGE);
  process.stderr.write(question);
  const output = new Writable({ write: (_chunk, _encoding, done) => done() });
  const reader = createInterface({
    input: process.stdin,
    output: isSecret ? output : process.stderr,
    terminal: true,
  });
  try {
    return await reader.question("");
  } finally {
    reader.close();
    if (isSecret) process.stderr.write("\n");
  }
}
