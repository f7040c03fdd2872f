// The engine's source, from Debian's source package: found in the cache, or fetched through apt, signed by Debian and of the hash that we know. Called by
// build.ts.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { debianArchives } from "./apt-sources.ts";
import { downloadSource, privateApt, runQuietly } from "./private-apt.ts";

const PACKAGE = "quickjs";
const UPSTREAM = "2025.04.26";
/** Of the package's .orig.tar.xz: Debian's signature says whose it is, this says that it is the one that we have tried. */
const SHA256 = "ec81da5b3249ed648dbc7df4a1654988910e66a118d9b71cb63534216efcfbbe";
/** Debian's first suite that has the package. */
const SUITE = "trixie";

/** The directory of the engine's source. HOLDFAST_QUICKJS_SRC names one; otherwise it is fetched once into `cache`. */
export function quickjsSource(cache: string, archives: readonly string[] = debianArchives()): string {
  const given = process.env.HOLDFAST_QUICKJS_SRC;
  if (given !== undefined && given !== "") return checkedSource(resolve(given));
  // The hash is in the name: what was unpacked under another rule is not taken.
  const unpacked = join(cache, `quickjs-${UPSTREAM}-${SHA256.slice(0, 12)}`);
  if (!existsSync(unpacked)) fetchSource(cache, unpacked, archives);
  return checkedSource(unpacked);
}

/** `directory`, if it holds the version that native/ is written for. */
function checkedSource(directory: string): string {
  const version = readFileSync(join(directory, "VERSION"), "utf8").trim();
  if (version !== UPSTREAM.replaceAll(".", "-")) {
    throw new Error(`${directory} holds quickjs ${version}; ${UPSTREAM} is needed`);
  }
  return directory;
}

function fetchSource(cache: string, unpacked: string, archives: readonly string[]): void {
  const failures: string[] = [];
  for (const archive of archives) {
    const work = join(cache, `apt-${process.pid}`);
    rmSync(work, { recursive: true, force: true });
    try {
      const fresh = unpack(download(archive, work), work);
      if (!existsSync(unpacked)) renameSync(fresh, unpacked); // or another build was faster
      return;
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  const reason = failures.length === 0 ? "no source of Debian packages is in /etc/apt" : failures.join("\n");
  throw new Error(`the engine's source: ${reason}\nHOLDFAST_QUICKJS_SRC=DIR takes it from a directory`);
}

/** Fetches the package's upstream archive and returns its path. */
function download(archive: string, work: string): string {
  const options = privateApt(work, [{ archive, suite: SUITE }]);
  const directory = downloadSource(work, options, `${PACKAGE}=${availableVersion(options, work)}`);
  const name = readdirSync(directory).find((each) => each.endsWith(".orig.tar.xz"));
  if (name === undefined) throw new Error(`apt left no ${PACKAGE} archive in ${work}`);
  return join(directory, name);
}

/** Throws unless the file at `path` has that SHA-256. */
export function demandHash(path: string, expected: string): void {
  const actual = createHash("sha256").update(readFileSync(path)).digest("hex");
  if (actual !== expected) throw new Error(`${path} has the SHA-256 ${actual}; ${expected} is wanted`);
}

function unpack(archive: string, work: string): string {
  demandHash(archive, SHA256);
  const fresh = join(work, "unpacked");
  mkdirSync(fresh);
  runQuietly("tar", ["-xJf", archive, "-C", fresh, "--strip-components=1"], work);
  return fresh;
}

/** The newest Debian revision of the upstream version. */
function availableVersion(options: readonly string[], work: string): string {
  const listed = execFileSync("apt-cache", [...options, "showsrc", "--only-source", PACKAGE], {
    cwd: work,
    encoding: "utf8",
  });
  const versions = listed
    .split("\n")
    .filter((line) => line.startsWith("Version: "))
    .map((line) => line.slice("Version: ".length).trim())
    .filter((version) => version.startsWith(`${UPSTREAM}-`))
    .sort();
  const last = versions.at(-1);
  if (last === undefined) throw new Error(`this machine's package sources offer no ${PACKAGE} ${UPSTREAM}`);
  return last;
}
