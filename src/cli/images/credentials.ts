// Credentials of registries as Docker's clients keep them: ~/.docker/config.json, in it or by a helper program (docker-credential-NAME).
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { Problem } from "../text/problem.ts";

/** A user and a password; without a user the secret is a token that is good for others. */
export interface RegistryLogin {
  readonly username: string;
  readonly secret: string;
}

interface AuthEntry {
  readonly auth?: unknown;
  readonly username?: unknown;
  readonly password?: unknown;
  readonly identitytoken?: unknown;
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, AuthEntry>>;
  readonly credHelpers?: Readonly<Record<string, string>>;
  readonly credsStore?: string;
}

/** Docker's own registry, as its clients have always called it in there. */
const HUB = "https://index.docker.io/v1/";
const HUB_HOSTS: readonly string[] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
/** What a helper calls a user that is none: the secret is a token. */
const TOKEN_USER = "<token>";
/** How long a helper may take: some ask a person. */
const HELPER_TIMEOUT_MS = 60_000;
const MAX_HELPER_TEXT = 1024 * 1024;

function configPath(): string {
  return join(process.env.DOCKER_CONFIG || join(homedir(), ".docker"), "config.json");
}

/** Throws a Problem for a file that cannot be read, or is none of Docker's. */
function readConfig(): DockerConfig {
  const path = configPath();
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
    throw new Problem(`${path}: ${(error as Error).message}`);
  }
  try {
    const value: unknown = JSON.parse(text === "" ? "{}" : text);
    if (typeof value === "object" && value !== null) return value as DockerConfig;
  } catch {
    // Its text may have secrets in it: none of it is shown.
  }
  throw new Problem(`${path}: no JSON object`);
}

/** What it may be called under, the likeliest first. */
function keysOf(host: string): string[] {
  const names = HUB_HOSTS.includes(host) ? [HUB, ...HUB_HOSTS] : [host];
  return names.flatMap((name) =>
    name.startsWith("https://")
      ? [name]
      : [name, `https://${name}`, `https://${name}/v1/`, `https://${name}/v2/`, `http://${name}`],
  );
}

/** What the user has for a registry's host; undefined if there is nothing. Throws a Problem for a helper that fails, or takes longer than `helperMs`. */
export async function loginFor(host: string, helperMs?: number): Promise<RegistryLogin | undefined> {
  const config = readConfig();
  const helper = helperOf(config, host);
  if (helper !== undefined) {
    const found = await askHelper(helper, keysOf(host)[0] ?? host, helperMs);
    if (found !== undefined) return found;
  }
  for (const key of keysOf(host)) {
    const entry = config.auths?.[key];
    const login = entry && loginOf(key, entry);
    if (login !== undefined) return login;
  }
  return undefined;
}

function helperOf({ credHelpers = {}, credsStore = "" }: DockerConfig, host: string): string | undefined {
  for (const key of keysOf(host)) if (credHelpers[key] !== undefined) return credHelpers[key];
  return credsStore === "" ? undefined : credsStore;
}

function loginOf(key: string, entry: AuthEntry): RegistryLogin | undefined {
  if (typeof entry.identitytoken === "string" && entry.identitytoken !== "")
    return { username: "", secret: entry.identitytoken };
  if (typeof entry.auth === "string" && entry.auth !== "") {
    const text = Buffer.from(entry.auth, "base64").toString();
    const colon = text.indexOf(":");
    if (colon <= 0) throw new Problem(`${configPath()}: auth of ${key}: not base64 of user:password`);
    return { username: text.slice(0, colon), secret: text.slice(colon + 1).replace(/\0+$/, "") };
  }
  const { username, password } = entry;
  return typeof username === "string" && typeof password === "string" && username !== ""
    ? { username, secret: password }
    : undefined;
}

/** Runs docker-credential-NAME. Throws a Problem that says what it says; one that answers too late, or too much, is ended. */
function runHelper(
  name: string,
  verb: "get" | "store" | "erase",
  input: string,
  timeoutMs: number = HELPER_TIMEOUT_MS,
): Promise<string> {
  if (!/^[\w.-]+$/.test(name)) throw new Problem(`${configPath()}: ${JSON.stringify(name)} is no helper`);
  const program = `docker-credential-${name}`;
  return new Promise((resolve, reject) => {
    const child = spawn(program, [verb], { stdio: ["pipe", "pipe", "inherit"] });
    const giveUp = (why: string): void => {
      reject(new Problem(`${program} ${verb}: ${why}`));
      child.kill("SIGKILL");
      // What it has started itself may hold it open.
      child.stdout.destroy();
    };
    const timer = setTimeout(() => giveUp(`no answer in ${timeoutMs / 1000} s`), timeoutMs);
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.length > MAX_HELPER_TEXT) giveUp("the answer is too long");
    });
    child.stdin.on("error", () => {});
    child.once("error", (error) => {
      clearTimeout(timer);
      reject(new Problem(`${program}: ${error.message}`));
    });
    child.once("close", (status, signal) => {
      clearTimeout(timer);
      if (status === 0) resolve(output);
      else reject(new Problem(`${program} ${verb}: ${output.trim() || `it ended with ${signal ?? status}`}`));
    });
    child.stdin.end(input);
  });
}

async function askHelper(
  name: string,
  key: string,
  timeoutMs: number | undefined,
): Promise<RegistryLogin | undefined> {
  let output: string;
  try {
    output = await runHelper(name, "get", key, timeoutMs);
  } catch (error) {
    if (/credentials not found/i.test(String(error))) return undefined;
    throw error;
  }
  const { Username: username, Secret: secret } = answerOf(name, output);
  if (typeof username !== "string" || typeof secret !== "string")
    throw new Problem(`docker-credential-${name} get: no Username and Secret in its answer`);
  return secret === "" ? undefined : { username: username === TOKEN_USER ? "" : username, secret };
}

function answerOf(name: string, output: string): { Username?: unknown; Secret?: unknown } {
  try {
    const value: unknown = JSON.parse(output);
    if (typeof value === "object" && value !== null) return value;
  } catch {
    // Its text may have a secret in it: none of it is shown.
  }
  throw new Problem(`docker-credential-${name} get: its answer is no JSON object`);
}

/** Keeps a login, in the helper if there is one. Returns where. */
export async function storeLogin(host: string, { username, secret }: RegistryLogin): Promise<string> {
  const config = readConfig();
  const [key = host] = keysOf(host);
  const helper = helperOf(config, host);
  if (helper !== undefined) {
    await runHelper(helper, "store", JSON.stringify({ ServerURL: key, Username: username, Secret: secret }));
    return `docker-credential-${helper}`;
  }
  const auth = Buffer.from(`${username}:${secret}`).toString("base64");
  writeConfig({ ...config, auths: { ...config.auths, [key]: { auth } } });
  return configPath();
}

/** Forgets it. Returns whether there was anything. */
export async function eraseLogin(host: string): Promise<boolean> {
  const config = readConfig();
  const helper = helperOf(config, host);
  const keys = keysOf(host);
  const known = keys.filter((key) => config.auths?.[key] !== undefined);
  if (helper !== undefined) await runHelper(helper, "erase", keys[0] ?? host);
  if (known.length > 0) {
    const auths = Object.entries(config.auths ?? {}).filter(([key]) => !known.includes(key));
    writeConfig({ ...config, auths: Object.fromEntries(auths) });
  }
  return known.length > 0 || helper !== undefined;
}

function writeConfig(config: DockerConfig): void {
  const path = configPath();
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.${process.pid}`, `${JSON.stringify(config, undefined, "\t")}\n`, { mode: 0o600 });
  renameSync(`${path}.${process.pid}`, path);
}
