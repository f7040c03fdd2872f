// A clean, minimal Debian in a directory of its own, with the host's Node.js and its way to the package archives and the npm registry. Used by test-fresh.ts.
import { execFileSync, spawn } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DEBIAN_KEYRING, debianArchives, securityArchives } from "./apt-sources.ts";
import { root } from "./cache.ts";

export const SUITES = { "12": "bookworm", "13": "trixie" } as const;
export type Release = keyof typeof SUITES;

const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CLONE = "/root/holdfast";
const HOST_CA = "/etc/holdfast-host-ca.crt";
/** How the host reaches the npm registry, as far as its environment says so. */
const PASSED_ON = /^((https?|no|all)_proxy|npm_config_(registry|https?_proxy|proxy|noproxy|strict_ssl))$/i;

export class CleanSystem {
  readonly directory: string;
  readonly #release: Release;

  /** Makes it: takes a minute or two. */
  constructor(release: Release) {
    this.#release = release;
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), `holdfast-debian${release}-`)));
    try {
      const archive = this.#debootstrap();
      this.#configureApt(archive);
      this.#configureNetwork();
      // The daemons' packages would start their services here.
      this.#write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755);
      execFileSync("git", ["clone", "-q", "--no-hardlinks", root, join(this.directory, CLONE)]);
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Where the packages came from. */
  #debootstrap(): string {
    const failures: string[] = [];
    for (const archive of debianArchives()) {
      const args = ["--variant=minbase", "--include=ca-certificates", `--keyring=${DEBIAN_KEYRING}`];
      try {
        execFileSync("debootstrap", [...args, SUITES[this.#release], this.directory, archive], {
          encoding: "utf8",
          stdio: ["ignore", "pipe", "pipe"],
          env: { ...process.env, ...aptProxies() },
        });
        return archive;
      } catch (error) {
        const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
        failures.push(`${archive}: ${stdout.trim().split("\n").slice(-5).join("\n")}\n${stderr}`);
        rmSync(this.directory, { recursive: true, force: true });
        mkdirSync(this.directory, { mode: 0o755 });
      }
    }
    throw new Error(`debootstrap: ${failures.join("\n") || "no source of Debian packages is in /etc/apt"}`);
  }

  #configureApt(archive: string): void {
    const suite = SUITES[this.#release];
    const lines = [
      `deb ${archive} ${suite} main`,
      `deb ${archive} ${suite}-updates main`,
      ...securityArchives().map((uri) => `deb ${uri} ${suite}-security main`),
    ];
    this.#write("etc/apt/sources.list", `${lines.join("\n")}\n`);
    this.#write("etc/apt/apt.conf.d/90host", `${aptSettings().join("\n")}\n`);
  }

  /** Names, certificates and npm's settings, as the host has them. */
  #configureNetwork(): void {
    for (const path of ["/etc/resolv.conf", "/etc/hosts"]) this.#copy(path, path);
    const settings = (name: string): string =>
      execFileSync("npm", ["config", "get", name], { cwd: tmpdir(), encoding: "utf8" }).trim();
    this.#copy(join(homedir(), ".npmrc"), "/root/.npmrc");
    this.#copy(settings("globalconfig"), "/usr/local/etc/npmrc");
    const named = [process.env.NODE_EXTRA_CA_CERTS, settings("cafile")];
    // Under a name of its own: the system's bundle is made anew when packages are installed.
    for (const path of named) if (path?.startsWith("/")) this.#copy(path, HOST_CA);
  }

  #copy(from: string, to: string): void {
    if (!existsSync(from)) return;
    const target = join(this.directory, to);
    mkdirSync(dirname(target), { recursive: true });
    rmSync(target, { force: true });
    copyFileSync(from, target);
  }

  #write(path: string, text: string, mode = 0o644): void {
    writeFileSync(join(this.directory, path), text, { mode });
  }

  get #env(): Record<string, string> {
    const passed = Object.entries(process.env).filter(([name]) => PASSED_ON.test(name));
    const ca = existsSync(join(this.directory, HOST_CA))
      ? { NODE_EXTRA_CA_CERTS: HOST_CA, npm_config_cafile: HOST_CA }
      : {};
    return {
      ...(Object.fromEntries(passed) as Record<string, string>),
      ...ca,
      PATH,
      HOME: "/root",
      LANG: "C.UTF-8",
    };
  }

  /** The command line that runs `argv` in it, on the host. Whatever it leaves running ends with it. */
  enter(argv: readonly string[]): string[] {
    const npm = dirname(dirname(realpathSync(execFileSync("which", ["npm"], { encoding: "utf8" }).trim())));
    const namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"];
    const within = ["env", "-i", ...Object.entries(this.#env).map(([name, value]) => `${name}=${value}`)];
    const script = join(root, "scripts/enter-root.sh");
    return [
      ...["unshare", ...namespaces, "sh", script, this.directory, realpathSync(process.execPath), npm],
      ...[...within, "sh", "-c", 'cd "$0" && exec "$@"', CLONE, ...argv],
    ];
  }

  /** Runs a command in the clone; its output is ours. Resolves to its exit status. */
  run(argv: readonly string[]): Promise<number> {
    const [program = "", ...args] = this.enter(argv);
    return new Promise((done, fail) => {
      const child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit"] });
      child.once("error", fail);
      child.once("close", (status) => done(status ?? 1));
    });
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
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
