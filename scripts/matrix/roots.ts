// The systems of the matrix: a directory each, made once and kept. Used by main.ts and vm/.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { cache, hashOf, root as repository } from "../cache.ts";
import { type Bind, enterDebianRoot, makeDebianRoot, nodeBind, type Suite } from "../debian-root.ts";

/** Where they are kept: below build/, unless HOLDFAST_CACHE names a directory that outlives the clone. */
const ROOTS: string = join(process.env.HOLDFAST_CACHE || cache, "roots");

/** The directory of a Debian with these packages; made if it is not there yet. Another version of debian-root.ts makes another one. */
export function debianRoot(suite: Suite, packages: readonly string[]): string {
  const maker = readFileSync(join(repository, "scripts/debian-root.ts"));
  const directory = join(ROOTS, `${suite}-${hashOf([maker, ...packages]).slice(0, 12)}`);
  if (existsSync(directory)) return directory;
  console.log(`==> ${suite}: debootstrap, and ${packages.length} packages; they are kept in ${directory}`);
  const fresh = `${directory}.${process.pid}`;
  mkdirSync(fresh, { recursive: true, mode: 0o755 });
  try {
    makeDebianRoot(fresh, suite);
    install(fresh, packages);
    renameSync(fresh, directory);
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true });
    throw error;
  }
  return directory;
}

function install(directory: string, packages: readonly string[]): void {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const apt = (args: readonly string[]): void => {
    const [program = "", ...rest] = enterDebianRoot(directory, { binds: [], env, cwd: "/" }, [
      "apt-get",
      "-qq",
      ...args,
    ]);
    execFileSync(program, rest, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  };
  apt(["update"]);
  apt(["install", "-y", "--no-install-recommends", ...packages]);
  apt(["clean"]);
}

/** Version of each installed package, without Debian's revision. */
export function versionsIn(directory: string, packages: readonly string[]): Record<string, string> {
  const format = "$" + "{Package} $" + "{Version}\\n";
  const admin = `--admindir=${join(directory, "var/lib/dpkg")}`;
  const listed = execFileSync("dpkg-query", [admin, "-W", "-f", format], { encoding: "utf8" });
  const all = listed.split("\n").map((line) => line.split(" ") as [string, string | undefined]);
  return Object.fromEntries(
    all.flatMap(([name, version]) =>
      version !== undefined && packages.includes(name) ? [[name, upstream(version)]] : [],
    ),
  );
}

/** 1.7.24~ds1-6+deb13u1 is 1.7.24; a date behind a version, as in 0.0~20240729.0, stays. */
function upstream(version: string): string {
  return version
    .replace(/^\d+:/, "")
    .replace(/-[^-]*$/, "")
    .replace(/[~+](ds|dfsg)\d*$/, "");
}

/** The command line that runs `argv` in the repository, inside: the repository is seen at the same path. */
export function inRoot(
  directory: string,
  env: Readonly<Record<string, string>>,
  argv: readonly string[],
): string[] {
  const binds: Bind[] = [nodeBind(), { from: repository, to: repository }];
  return enterDebianRoot(directory, { binds, env, cwd: repository }, argv);
}
