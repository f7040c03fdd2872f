// libarchive with the fuzzers' instrumentation: the source of the package that the unpacker is linked with, Debian's patches in it, configured and compiled once.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { debianArchives, securityArchives } from "../../scripts/apt-sources.ts";
import { cache, cached, hashOf, run } from "../../scripts/cache.ts";
import type { Variant } from "../../scripts/compile-c.ts";
import { downloadSource, privateApt, runQuietly } from "../../scripts/private-apt.ts";

/** As dpkg-query calls it. */
const VERSION_FIELD = "source:Version";
/** Not ours: programs of other systems. */
const LEFT_OUT = /windows/;
const CONFIGURATION = ["shared", "bsdtar", "bsdcat", "bsdcpio", "bsdunzip"]
  .map((part) => `--disable-${part}`)
  .concat("--without-xml2", "--without-expat", "--without-openssl", "--without-lz4", "--with-nettle");

export interface Instrumented {
  /** All of it, in one archive for the linker. */
  readonly library: string;
  readonly headers: string;
}

export async function instrumentedLibarchive({ compiler = "gcc", compile }: Variant): Promise<Instrumented> {
  const directory = configuredSource(compiler);
  const source = join(directory, "libarchive");
  const flags = ["-std=gnu11", "-w", "-DHAVE_CONFIG_H", "-D__LIBARCHIVE_BUILD", `-I${directory}`, ...compile];
  const names = readdirSync(source).filter((name) => name.endsWith(".c") && !LEFT_OUT.test(name));
  const hash = hashOf([directory, output(compiler, ["--version"]), ...flags, ...names]);
  const library = await cached("fuzz", `libarchive-${hash}`, ".a", async (path) => {
    const objects = `${path}.objects`;
    mkdirSync(objects);
    try {
      const object = (name: string): string => join(objects, name.replace(/c$/, "o"));
      await Promise.all(
        names.map((name) => run(compiler, [...flags, "-c", "-o", object(name), join(source, name)])),
      );
      await run("ar", ["rcs", path, ...names.map(object)]);
    } finally {
      rmSync(objects, { recursive: true, force: true });
    }
  });
  return { library, headers: source };
}

function configuredSource(compiler: string): string {
  const version = output("dpkg-query", ["-W", "-f", `\${${VERSION_FIELD}}`, "libarchive-dev"]);
  const place = join(cache, `libarchive-${version}`);
  if (existsSync(place)) return place;
  const work = join(cache, `libarchive-${process.pid}`);
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  try {
    const options = privateApt(work, suites());
    const files = downloadSource(work, options, `libarchive=${version}`);
    const description = readdirSync(files).find((name) => name.endsWith(".dsc"));
    if (description === undefined) throw new Error(`apt left no source of libarchive in ${files}`);
    const fresh = join(work, "unpacked");
    runQuietly("dpkg-source", ["-x", join(files, description), fresh], work);
    runQuietly(join(fresh, "configure"), [`CC=${compiler}`, ...CONFIGURATION], fresh);
    if (!existsSync(place)) renameSync(fresh, place);
    return place;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function suites(): { archive: string; suite: string }[] {
  const release = /^VERSION_CODENAME=(.*)$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "";
  return [
    ...debianArchives().map((archive) => ({ archive, suite: release })),
    ...securityArchives().map((archive) => ({ archive, suite: `${release}-security` })),
  ];
}

function output(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8" }).trim();
}
