// apt with sources, lists and cache of its own, for source packages of Debian that the machine's own configuration does not offer. Called by quickjs.ts and
// by the fuzzers, which instrument libarchive.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DEBIAN_KEYRING } from "./apt-sources.ts";

/** A suite of an archive that may have the package. */
export interface SourceSuite {
  readonly archive: string;
  readonly suite: string;
}

/** Options for apt's commands, after an update of the lists. Only Debian's own key counts, whatever keys the machine trusts. */
export function privateApt(work: string, suites: readonly SourceSuite[]): string[] {
  for (const directory of ["parts", "lists/partial", "cache/archives/partial", "source"]) {
    mkdirSync(join(work, directory), { recursive: true });
  }
  const entries = suites.map(
    ({ archive, suite }) => `deb-src [signed-by=${DEBIAN_KEYRING}] ${archive} ${suite} main\n`,
  );
  writeFileSync(join(work, "parts/sources.list"), entries.join(""));
  const options = [
    ["Dir::Etc::sourcelist", "/dev/null"],
    ["Dir::Etc::sourceparts", join(work, "parts")],
    ["Dir::State::lists", join(work, "lists")],
    ["Dir::Cache", join(work, "cache")],
    // The work directory may belong to somebody whom apt's own user cannot enter.
    ["APT::Sandbox::User", "root"],
    // A Release file that cannot be checked ends it here, instead of with a warning.
    ["APT::Update::Error-Mode", "any"],
    ["Acquire::AllowInsecureRepositories", "false"],
  ].flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  runQuietly("apt-get", ["-qq", ...options, "update"], work);
  return options;
}

/** Fetches the files of a source package into `work`/source, which it returns. apt checks size and hash against the signed lists, and refuses a file that differs. */
export function downloadSource(work: string, options: readonly string[], wanted: string): string {
  const directory = join(work, "source");
  runQuietly("apt-get", ["-qq", ...options, "source", "--download-only", wanted], directory);
  return directory;
}

/** Runs a command; its output is shown only if it fails. */
export function runQuietly(command: string, args: readonly string[], cwd: string): void {
  try {
    execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout}${stderr}`);
  }
}
