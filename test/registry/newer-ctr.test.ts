// A newer ctr, whose pull, push, import, export and tag are the transfer service's, on holdfastd: the one on the PATH if it is new enough, else one of the
// matrix' systems (npm run test:matrix makes them).
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type Output, run } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { DockerRegistry, PASSWORD, USER } from "./docker-registry.ts";
import { makeImage, makeIndex, putImage, putManifest } from "./image.ts";

const ROOT = join(import.meta.dirname, "../..");

/** undefined for what is no ctr that can be run. */
function versionOf(program: string): number | undefined {
  try {
    const text = execFileSync(program, ["--version"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return Number(/ v?(\d+\.\d+)\.\d+/.exec(text)?.[1] ?? Number.NaN);
  } catch {
    return undefined;
  }
}

function newerCtrs(): { program: string; version: number }[] {
  const roots = join(process.env.HOLDFAST_CACHE || join(ROOT, "build"), "roots");
  let systems: string[] = [];
  try {
    systems = readdirSync(roots);
  } catch {
    // None has been made.
  }
  const all = ["ctr", ...systems.map((name) => join(roots, name, "usr/bin/ctr"))].map((program) => {
    return { program, version: versionOf(program) ?? 0 };
  });
  const found = new Map(all.filter(({ version }) => version >= 1.7).map((each) => [each.version, each]));
  return [...found.values()];
}

const found = newerCtrs();
const skip = found.length === 0 ? "there is no ctr newer than 1.6 here" : false;
const daemon = await Daemon.start({ kind: "holdfastd" });
let registry: DockerRegistry;
before(async () => {
  registry = await DockerRegistry.start({ directory: join(daemon.directory, "registry"), password: true });
  const images = [
    makeImage({ layers: [1_500_000] }),
    makeImage({ platform: { os: "linux", architecture: "s390x" } }),
  ];
  for (const image of images) await putImage(registry, "app", image.manifest.digest, image);
  await putManifest(registry, "app", "1", makeIndex(images));
});
after(async () => {
  await registry.close();
  await daemon.close();
});

test("a newer ctr pulls, runs, tags, pushes, exports and imports", { skip }, async () => {
  for (const { program, version } of found) {
    const ctr = (...args: string[]): Promise<Output> =>
      run([program, "-a", daemon.address, "-n", daemon.namespace, ...args]);
    const succeeds = async (...args: string[]): Promise<string> => {
      const output = await ctr(...args);
      assert.equal(output.status, 0, `ctr ${version} ${args.join(" ")}: ${output.stderr}`);
      return output.stdout;
    };
    // 1.x does it all by itself unless it is told otherwise.
    const byService = version < 2 ? ["--local=false"] : [];
    const name = `${registry.host}/app:1`;
    const wrong = await ctr("images", "pull", ...byService, "--user", `${USER}:wrong`, name);
    assert.match(wrong.stderr, /the registry wants a login \(401\)/);
    const user = ["--user", `${USER}:${PASSWORD}`];
    await succeeds("images", "pull", ...byService, ...user, name);
    const id = `newer-${version}`;
    daemon.ctr.ids.add(id);
    const runtime = ["--runtime", daemon.runtime];
    assert.equal(await succeeds("run", "--rm", ...runtime, name, id), "pulled\n");
    await succeeds("images", "push", ...byService, ...user, `${registry.host}/pushed:${version}`, name);
    assert.equal(registry.requests(new RegExp(`"PUT /v2/pushed/manifests/${version} .* 201 `)), 1);
    const other = "example.test/other:1";
    await succeeds("images", "tag", ...byService, name, other);
    const archive = join(daemon.directory, `${version}.tar`);
    await succeeds("images", "export", ...byService, archive, other);
    await succeeds("images", "rm", "--sync", name, other);
    assert.equal(await succeeds("content", "ls", "-q"), "");
    await succeeds("images", "import", ...byService, archive);
    assert.equal(await succeeds("images", "ls", "-q"), `${other}\n`);
    assert.equal(await succeeds("run", "--rm", ...runtime, other, id), "pulled\n");
    await succeeds("images", "rm", "--sync", other);
  }
});
