// The engine's source, from Debian's source package: found in the cache, or fetched through apt with its signatures checked. Called by build.ts.
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";

const PACKAGE = "quickjs";
const UPSTREAM = "2025.04.26";
/** Debian's first suite that has the package. */
const SUITE = "trixie";

/** An apt entry: where packages come from, and which key signs them. */
interface Source {
  readonly uris: string;
  readonly suite: string;
  readonly options: readonly string[];
}

/** The directory of the engine's source. HOLDFAST_QUICKJS_SRC names one; otherwise it is fetched once into `cache`. */
export function quickjsSource(cache: string): string {
  const given = process.env.HOLDFAST_QUICKJS_SRC;
  if (given !== undefined && given !== "") return checkedSource(resolve(given));
  const unpacked = join(cache, `quickjs-${UPSTREAM}`);
  if (!existsSync(unpacked)) fetchSource(cache, unpacked);
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

function fetchSource(cache: string, unpacked: string): void {
  const work = join(cache, `apt-${process.pid}`);
  rmSync(work, { recursive: true, force: true });
  for (const directory of ["parts", "lists/partial", "cache/archives/partial", "source"]) {
    mkdirSync(join(work, directory), { recursive: true });
  }
  writeFileSync(join(work, "parts/quickjs.list"), sourceEntries());
  const options = [
    ["Dir::Etc::sourcelist", "/dev/null"],
    ["Dir::Etc::sourceparts", join(work, "parts")],
    ["Dir::State::lists", join(work, "lists")],
    ["Dir::Cache", join(work, "cache")],
    // The work directory may belong to somebody whom apt's own user cannot enter.
    ["APT::Sandbox::User", "root"],
    // A Release file that cannot be checked ends it here, instead of with a warning.
    ["APT::Update::Error-Mode", "any"],
  ].flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  apt([...options, "update"], work);
  const version = availableVersion(options, work);
  // apt checks size and hash against the signed lists, and refuses an archive that differs.
  apt([...options, "source", "--download-only", `${PACKAGE}=${version}`], join(work, "source"));
  const archive = readdirSync(join(work, "source")).find((name) => name.endsWith(".orig.tar.xz"));
  if (archive === undefined) throw new Error(`apt left no ${PACKAGE} archive in ${work}`);
  const fresh = join(work, "unpacked");
  mkdirSync(fresh);
  run("tar", ["-xJf", join(work, "source", archive), "-C", fresh, "--strip-components=1"], work);
  if (!existsSync(unpacked)) renameSync(fresh, unpacked); // or another build was faster
  rmSync(work, { recursive: true, force: true });
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

/** deb-src lines derived from the machine's own sources of Debian's main archive. */
function sourceEntries(): string {
  const lines = new Set(machineSources().map((source) => entryLine(source)));
  if (lines.size === 0) {
    throw new Error(
      "no Debian package source found in /etc/apt; set HOLDFAST_QUICKJS_SRC to the unpacked source",
    );
  }
  return [...lines, ""].join("\n");
}

function entryLine(source: Source): string {
  const options = source.options.length > 0 ? `[${source.options.join(" ")}] ` : "";
  return `deb-src ${options}${source.uris} ${SUITE} main`;
}

/** Entries that name a plain Debian suite (not security or updates) with a component "main". */
function machineSources(): Source[] {
  const directory = "/etc/apt/sources.list.d";
  const parts = existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
  const found: Source[] = [];
  for (const path of ["/etc/apt/sources.list", ...parts]) {
    if (!existsSync(path) || !statSync(path).isFile()) continue;
    const text = readFileSync(path, "utf8");
    if (path.endsWith(".sources")) found.push(...deb822Sources(text));
    else if (path.endsWith(".list")) found.push(...lineSources(text));
  }
  return found.filter((source) => isDebianSuite(source.suite));
}

/** Suites of Debian itself; those of other archives have other names. */
function isDebianSuite(suite: string): boolean {
  return [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "stable",
    "oldstable",
    "testing",
    "unstable",
  ].includes(suite);
}

function deb822Sources(text: string): Source[] {
  return text.split(/\n\s*\n/).flatMap((paragraph) => {
    const fields = new Map<string, string>();
    let last = "";
    for (const line of paragraph.split("\n").filter((each) => !each.startsWith("#"))) {
      const field = /^([A-Za-z-]+):\s*(.*)$/.exec(line);
      if (field?.[1] !== undefined) {
        last = field[1].toLowerCase();
        fields.set(last, field[2] ?? "");
      } else if (/^\s/.test(line)) fields.set(last, `${fields.get(last) ?? ""} ${line.trim()}`);
    }
    const words = (name: string): string[] =>
      (fields.get(name) ?? "").split(/\s+/).filter((word) => word !== "");
    if (fields.get("enabled") === "no" || !words("components").includes("main")) return [];
    // A key written into the file itself cannot be named on a line; apt's own keyring is tried then.
    const signed = words("signed-by").filter((word) => word.startsWith("/"));
    const options = signed.length > 0 ? [`signed-by=${signed.join(",")}`] : [];
    return words("uris").flatMap((uris) => words("suites").map((suite) => ({ uris, suite, options })));
  });
}

function lineSources(text: string): Source[] {
  return text.split("\n").flatMap((line) => {
    const entry = /^\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)$/.exec(line);
    if (entry === null) return [];
    const [, bracket = "", uris = "", suite = "", components = ""] = entry;
    if (!components.split(/\s+/).includes("main")) return [];
    // Architectures mean nothing to a source package.
    return [
      { uris, suite, options: bracket.split(/\s+/).filter((option) => option.startsWith("signed-by=")) },
    ];
  });
}

function apt(args: readonly string[], cwd: string): void {
  run("apt-get", ["-qq", ...args], cwd);
}

/** Runs a command; its output is shown only if it fails. */
function run(command: string, args: readonly string[], cwd: string): void {
  try {
    execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout}${stderr}`);
  }
}
