// npm run install-host: builds the programs and puts them where this machine finds them.
//   -- --prefix DIR   below DIR instead of /usr/local     -- --uninstall   takes them away again     -- --no-build   what is in dist/, as it is
// May be run again, also while holdfastd and shims run: every file is replaced by a rename, so that who has the old one keeps it.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { buildAll } from "./build.ts";
import { root } from "./cache.ts";

const PROGRAMS = ["holdfastd", "holdfast", "containerd-shim-holdfast-v2"] as const;
/** What the programs need beside them, with its mode. */
const COMPANIONS: readonly (readonly [name: string, mode: number])[] = [
  ["lmdb.node", 0o644],
  ["package.json", 0o644],
  ["holdfast-layer", 0o755],
  ["holdfast-node", 0o755],
  ["holdfast-node.js", 0o644],
  ["holdfast-node.js.cache", 0o644],
];
/** Files in a directory of their own. */
const HELP = "help";
const UNIT = "holdfastd.service";
/** Directories that this made, in the order in which they can be removed. */
const MADE = "directories.json";
/** What `cp -r dist`, which this command took the place of, has left there. */
const OBSOLETE = ["sanitize", "dist"] as const;
/** The PATH that systemd gives a service. */
const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

class Installation {
  readonly #prefix: string;

  constructor(prefix: string) {
    this.#prefix = prefix;
  }

  get #library(): string {
    return join(this.#prefix, "lib/holdfast");
  }

  get #unit(): string {
    return join(this.#prefix, "lib/systemd/system", UNIT);
  }

  #link(program: string): string {
    return join(this.#prefix, "bin", program);
  }

  install(): void {
    const made = [this.#library, dirname(this.#unit), join(this.#prefix, "bin")].flatMap(makeDirectory);
    this.#remember(made);
    for (const [name, mode] of COMPANIONS)
      replace(join(this.#library, name), fileFrom(join(root, "dist", name), mode));
    this.#installHelp();
    for (const name of PROGRAMS) {
      replace(join(this.#library, name), fileFrom(join(root, "dist", name), 0o755));
      const target = relative(join(this.#prefix, "bin"), join(this.#library, name));
      replace(this.#link(name), (path) => symlinkSync(target, path));
    }
    replace(this.#unit, (path) => writeFileSync(path, this.#unitText(), { mode: 0o644 }));
    for (const name of OBSOLETE) rmSync(join(this.#library, name), { recursive: true, force: true });
    systemctl("daemon-reload");
    this.#sayWhatIsNext();
  }

  #installHelp(): void {
    const [from, to] = [join(root, "dist", HELP), join(this.#library, HELP)];
    const pages = readdirSync(from);
    mkdirSync(to, { recursive: true, mode: 0o755 });
    for (const page of pages) replace(join(to, page), fileFrom(join(from, page), 0o644));
    for (const page of readdirSync(to)) if (!pages.includes(page)) rmSync(join(to, page), { force: true });
  }

  #remember(made: readonly string[]): void {
    const path = join(this.#library, MADE);
    const all = [...this.#made(), ...made].sort((a, b) => b.length - a.length);
    replace(path, (fresh) => writeFileSync(fresh, `${JSON.stringify([...new Set(all)], undefined, 2)}\n`));
  }

  #made(): string[] {
    const path = join(this.#library, MADE);
    return existsSync(path) ? (JSON.parse(readFileSync(path, "utf8")) as string[]) : [];
  }

  #unitText(): string {
    const text = readFileSync(join(root, "systemd", UNIT), "utf8");
    const node = dirname(process.execPath);
    const path = SYSTEM_PATH.includes(node)
      ? ""
      : `# Node.js is here.\nEnvironment=PATH=${[node, ...SYSTEM_PATH].join(":")}\n`;
    return text.replace(/^ExecStart=.*$/m, `${path}ExecStart=${this.#link("holdfastd")}`);
  }

  #sayWhatIsNext(): void {
    console.log(`Installed below ${this.#prefix}: ${PROGRAMS.join(", ")}, ${UNIT}.`);
    const older = join("/etc/systemd/system", UNIT);
    if (existsSync(older) && !lstatSync(older).isSymbolicLink()) {
      console.log(`${older} goes before the new unit: remove it unless it is yours.`);
    }
    if (isActive())
      console.log("holdfastd runs on as it was: systemctl restart holdfastd   (containers stay)");
    else if (isSearched(this.#unit)) console.log("Start the daemon: systemctl enable --now holdfastd");
    else console.log(`Start the daemon: systemctl enable --now ${this.#unit}`);
  }

  uninstall(): void {
    if (fragmentPath() === this.#unit) systemctl("disable", "--now", UNIT);
    const directories = this.#made();
    for (const name of PROGRAMS) if (this.#ownsLink(name)) rmSync(this.#link(name));
    rmSync(this.#unit, { force: true });
    rmSync(this.#library, { recursive: true, force: true });
    for (const directory of directories) removeEmpty(directory);
    systemctl("daemon-reload");
    console.log(`Removed from ${this.#prefix}. Containers run on; records stay in /var/lib/holdfast.`);
  }

  #ownsLink(program: string): boolean {
    const path = this.#link(program);
    if (!lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) return false;
    return resolve(dirname(path), readlinkSync(path)) === join(this.#library, program);
  }
}

/** Returns what it had to make, the deepest first. */
function makeDirectory(path: string): string[] {
  const missing: string[] = [];
  for (let each = path; !existsSync(each); each = dirname(each)) missing.push(each);
  mkdirSync(path, { recursive: true, mode: 0o755 });
  return missing;
}

/** `make` writes the new file to the path that it is given; whoever opens `path` gets the old one or the whole new one. */
function replace(path: string, make: (path: string) => void): void {
  const fresh = `${path}.new-${process.pid}`;
  try {
    make(fresh);
    renameSync(fresh, path);
  } catch (error) {
    rmSync(fresh, { force: true });
    throw error;
  }
}

function fileFrom(source: string, mode: number): (path: string) => void {
  return (path) => {
    copyFileSync(source, path);
    chmodSync(path, mode);
  };
}

function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // Somebody else has something in it.
  }
}

/** What it says; "" where systemd does not run, or does not know. */
function systemctl(...args: readonly string[]): string {
  if (!existsSync("/run/systemd/system")) return "";
  try {
    return execFileSync("systemctl", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  } catch {
    return "";
  }
}

const isActive = (): boolean => systemctl("is-active", UNIT) === "active";
const fragmentPath = (): string => systemctl("show", "--property=FragmentPath", "--value", UNIT);
const isSearched = (unit: string): boolean =>
  ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system"].includes(dirname(unit));

const USAGE = "npm run install-host [-- --prefix DIR] [-- --no-build | --uninstall]";

function readFlags(): { prefix?: string; uninstall?: boolean; "no-build"?: boolean } {
  try {
    return parseArgs({
      options: {
        prefix: { type: "string" },
        uninstall: { type: "boolean" },
        "no-build": { type: "boolean" },
      },
    }).values;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(2);
  }
}

const values = readFlags();
const installation = new Installation(resolve(values.prefix ?? "/usr/local"));
if (values.uninstall === true) installation.uninstall();
else {
  if (values["no-build"] !== true) await buildAll();
  installation.install();
}
