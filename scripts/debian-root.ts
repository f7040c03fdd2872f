// A minimal Debian in a directory, with the host's way to the package archives, and how to run a command in it. Used by clean-system.ts and matrix/.
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DEBIAN_KEYRING, debianArchives, securityArchives } from "./apt-sources.ts";
import { root as repository } from "./cache.ts";

/** Debian's name of a release's suite. */
export type Suite = "bookworm" | "trixie" | "sid";

/** A file or directory of the host that is seen inside. */
export interface Bind {
  readonly from: string;
  readonly to: string;
}

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Fills the empty `directory` with the suite's smallest system. Takes a minute or so; throws what debootstrap said. */
export function makeDebianRoot(directory: string, suite: Suite): void {
  const archive = debootstrap(directory, suite);
  // mkdtemp makes a directory for one user alone; the root of a system is everybody's.
  chmodSync(directory, 0o755);
  const write = (path: string, text: string, mode = 0o644): void =>
    writeFileSync(join(directory, path), text, { mode });
  const lines = [`deb ${archive} ${suite} main`];
  if (suite !== "sid") {
    lines.push(`deb ${archive} ${suite}-updates main`);
    for (const uri of securityArchives()) lines.push(`deb ${uri} ${suite}-security main`);
  }
  write("etc/apt/sources.list", `${lines.join("\n")}\n`);
  write("etc/apt/apt.conf.d/90host", `${aptSettings().join("\n")}\n`);
  // The daemons' packages would start their services here.
  write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755);
  for (const path of ["/etc/resolv.conf", "/etc/hosts"]) copyInto(directory, path, path);
}

/** Copies a file of the host, if there is one, to a path inside. */
export function copyInto(directory: string, from: string, to: string): void {
  if (!existsSync(from)) return;
  const target = join(directory, to);
  mkdirSync(dirname(target), { recursive: true });
  rmSync(target, { force: true });
  copyFileSync(from, target);
}

/** Where the packages came from. */
function debootstrap(directory: string, suite: Suite): string {
  const failures: string[] = [];
  for (const archive of debianArchives()) {
    const args = ["--variant=minbase", "--include=ca-certificates", `--keyring=${DEBIAN_KEYRING}`];
    try {
      execFileSync("debootstrap", [...args, suite, directory, archive], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, ...aptProxies() },
      });
      return archive;
    } catch (error) {
      const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
      failures.push(`${archive}: ${stdout.trim().split("\n").slice(-5).join("\n")}\n${stderr}`);
      rmSync(directory, { recursive: true, force: true });
      mkdirSync(directory, { mode: 0o755 });
    }
  }
  throw new Error(`debootstrap: ${failures.join("\n") || "no source of Debian packages is in /etc/apt"}`);
}

/** What apt's configuration says of how packages are fetched, as lines of a file. */
function aptSettings(): string[] {
  const lines = execFileSync("apt-config", ["dump"], { encoding: "utf8" }).split("\n");
  return lines.filter((line) => /^Acquire::(http|https|ftp|Check|Retries|ForceIPv)/i.test(line));
}

/** For debootstrap, which does not ask apt. */
function aptProxies(): Record<string, string> {
  const found = aptSettings().flatMap((line): [string, string][] => {
    const [, scheme = "", proxy = ""] = /^Acquire::(https?)::Proxy "([^"]+)";/i.exec(line) ?? [];
    return proxy === "" ? [] : [[`${scheme.toLowerCase()}_proxy`, proxy]];
  });
  return Object.fromEntries(found);
}

/** Node.js as the host has it. */
export function nodeBind(): Bind {
  return { from: realpathSync(process.execPath), to: "/usr/local/bin/node" };
}

/** The npm that the host's PATH leads to. */
export function npmBind(): Bind {
  const npm = realpathSync(execFileSync("which", ["npm"], { encoding: "utf8" }).trim());
  return { from: dirname(dirname(npm)), to: "/usr/local/lib/node_modules/npm" };
}

export interface Entry {
  readonly binds: readonly Bind[];
  /** The environment, beside PATH, HOME and LANG; nothing of the host's. */
  readonly env: Readonly<Record<string, string>>;
  /** The working directory inside. */
  readonly cwd: string;
}

/** The command line that runs `argv` in it, on the host, as root there. Whatever it leaves running ends with it. */
export function enterDebianRoot(directory: string, entry: Entry, argv: readonly string[]): string[] {
  const namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"];
  const env = { ...entry.env, PATH, HOME: "/root", LANG: "C.UTF-8" };
  const within = ["env", "-i", ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  const script = join(repository, "scripts/enter-root.sh");
  return [
    ...["unshare", ...namespaces, "sh", script, directory],
    ...entry.binds.flatMap(({ from, to }) => [from, to]),
    ...["--", ...within, "sh", "-c", 'cd "$0" && exec "$@"', entry.cwd, ...argv],
  ];
}
