// A clean, minimal Debian in a directory of its own, with the host's Node.js and its way to the package archives and the npm registry. Used by test-fresh.ts.
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { root } from "./cache.ts";
import { copyInto, enterDebianRoot, makeDebianRoot, nodeBind, npmBind } from "./debian-root.ts";

export const SUITES = { "12": "bookworm", "13": "trixie" } as const;
export type Release = keyof typeof SUITES;

const CLONE = "/root/holdfast";
const HOST_CA = "/etc/holdfast-host-ca.crt";
/** How the host reaches the npm registry, as far as its environment says so. */
const PASSED_ON = /^((https?|no|all)_proxy|npm_config_(registry|https?_proxy|proxy|noproxy|strict_ssl))$/i;

export class CleanSystem {
  readonly directory: string;

  /** Makes it: takes a minute or two. */
  constructor(release: Release) {
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), `holdfast-debian${release}-`)));
    try {
      makeDebianRoot(this.directory, SUITES[release]);
      this.#configureNpm();
      execFileSync("git", ["clone", "-q", "--no-hardlinks", root, join(this.directory, CLONE)]);
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Certificates and npm's settings, as the host has them. */
  #configureNpm(): void {
    const settings = (name: string): string =>
      execFileSync("npm", ["config", "get", name], { cwd: tmpdir(), encoding: "utf8" }).trim();
    copyInto(this.directory, join(homedir(), ".npmrc"), "/root/.npmrc");
    copyInto(this.directory, settings("globalconfig"), "/usr/local/etc/npmrc");
    const named = [process.env.NODE_EXTRA_CA_CERTS, settings("cafile")];
    // Under a name of its own: the system's bundle is made anew when packages are installed.
    for (const path of named) if (path?.startsWith("/")) copyInto(this.directory, path, HOST_CA);
  }

  get #env(): Record<string, string> {
    const passed = Object.entries(process.env).filter(([name]) => PASSED_ON.test(name));
    const ca = existsSync(join(this.directory, HOST_CA))
      ? { NODE_EXTRA_CA_CERTS: HOST_CA, npm_config_cafile: HOST_CA }
      : {};
    return { ...(Object.fromEntries(passed) as Record<string, string>), ...ca };
  }

  /** The command line that runs `argv` in it, on the host. Whatever it leaves running ends with it. */
  enter(argv: readonly string[]): string[] {
    const entry = { binds: [nodeBind(), npmBind()], env: this.#env, cwd: CLONE };
    return enterDebianRoot(this.directory, entry, argv);
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
