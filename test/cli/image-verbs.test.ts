// Images saved, made and looked at by holdfast, and what they take of the disk; on whichever daemon.
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { check } from "../harness/command.ts";
import { onDaemon } from "./cli.ts";
import { makeImage } from "./image-source.ts";

const { daemon, cli } = await onDaemon();
const path = (name: string): string => join(daemon.directory, name);
const config = { Cmd: ["echo", "by default"], Labels: { of: "base" } };
await cli.do(["load", "-i", await makeImage(daemon.directory, "base:1", { config })]);

const sh = (image: string, script: string, flags: readonly string[] = []): Promise<string> =>
  cli.do(["run", "--rm", ...flags, "--entrypoint", "sh", image, "-c", script]);

test("what is saved is loaded again, by holdfast and by ctr, from a file and through a pipe, under all its names", async () => {
  await cli.do(["tag", "base:1", "example.com/other:2"]);
  const archive = path("saved.tar");
  await cli.do(["save", "-o", archive, "base:1", "example.com/other:2"]);
  const piped = await cli.shell(`"$H" save base:1 example.com/other:2 | cat >${path("piped.tar")}`).exited;
  assert.equal(piped.status, 0, piped.stderr);
  assert.ok(
    readFileSync(archive).equals(readFileSync(path("piped.tar"))),
    "the same image is the same archive",
  );
  const names = (await check(["tar", "-tf", archive])).trim().split("\n");
  for (const name of ["oci-layout", "index.json", "manifest.json"]) assert.ok(names.includes(name), name);
  const [entry] = JSON.parse(await check(["tar", "-xOf", archive, "manifest.json"])) as {
    RepoTags: string[];
  }[];
  assert.deepEqual(entry?.RepoTags, ["base:1", "example.com/other:2"]);
  await cli.do(["rmi", "base:1", "example.com/other:2"]);
  assert.deepEqual((await cli.do(["load", "-i", archive])).trim().split("\n").sort(), [
    "docker.io/library/base:1",
    "example.com/other:2",
  ]);
  await cli.do(["rmi", "base:1", "example.com/other:2"]);
  await daemon.ctr.do(["images", "import", archive]);
  assert.equal(await cli.do(["run", "--rm", "base:1"]), "by default\n");
  await cli.do(["rmi", "example.com/other:2"]);
});

test("half an archive is none, and what is not there is no archive", async () => {
  const refused = await cli.run(["save", "-o", path("none.tar"), "nosuch:1"]);
  assert.match(refused.stderr, /nosuch:1: no such image/);
  const full = await cli.run(["save", "-o", "/dev/full", "base:1"]);
  assert.equal(full.status, 1);
  assert.match(full.stderr, /no space left/);
});

test("a root file system in a tar becomes an image, plain or packed, with what --change says of it", async () => {
  const tar = path("rootfs.tar");
  await check(["tar", "-C", daemon.rootfs, "-cf", tar, "."]);
  const changes = ['CMD ["echo","imported"]', "ENV A=1 B='two words'", "USER 7", "LABEL l=x", "VOLUME /data"];
  const flags = changes.flatMap((change) => ["-c", change]);
  assert.match(await cli.do(["import", ...flags, "-m", "why", tar, "imported:1"]), /^sha256:[0-9a-f]{64}\n$/);
  assert.equal(await cli.do(["run", "--rm", "imported:1", "/bin/echo", "plain"]), "plain\n");
  assert.equal(
    await sh("imported:1", 'export PATH=/bin; id -u; echo "$A $B"; ls -d /data', ["-e", "PATH=/bin"]),
    "7\n1 two words\n/data\n",
  );
  const zipped = await cli.shell(`gzip -c ${tar} | "$H" import - packed:1`).exited;
  assert.equal(zipped.status, 0, zipped.stderr);
  assert.equal(await cli.do(["run", "--rm", "packed:1", "/bin/echo", "packed"]), "packed\n");
  const rubbish = path("rubbish");
  writeFileSync(rubbish, "no archive".repeat(1000));
  const refused = await cli.run(["import", rubbish, "rubbish:1"]);
  assert.equal(refused.status, 1);
  assert.doesNotMatch(await cli.do(["images", "-q"]), /rubbish/);
  assert.equal((await cli.run(["import", "-c", "RUN true", tar, "x:1"])).status, 2);
  await cli.do(["rmi", "imported:1", "packed:1"]);
});

test("a container becomes an image with what it has changed, also when its image has another meaning by now", async () => {
  const script = "echo made >/made; rm /bin/vi; mkdir -p /d; ln /made /d/link; sleep 1000";
  await cli.do(["run", "-d", "--name", "builder", "--entrypoint", "sh", "base:1", "-c", `${script}`]);
  await cli.do(["exec", "builder", "sh", "-c", "until [ -e /d/link ]; do sleep 0.05; done"]);
  await cli.do(["commit", "-c", 'CMD ["cat","/d/link"]', "-a", "me", "-m", "words", "builder", "made:1"]);
  // It goes on: it was only paused.
  assert.equal(await cli.do(["exec", "builder", "cat", "/made"]), "made\n");
  assert.equal(await cli.do(["run", "--rm", "made:1"]), "made\n");
  assert.equal(
    await sh("made:1", "ls /bin/vi 2>/dev/null; [ /made -ef /d/link ] && echo one file"),
    "one file\n",
  );
  const [newest] = (await cli.json(["history", "made:1"])) as Record<string, unknown>[];
  assert.equal(newest?.comment, "words");
  assert.match(String(newest?.createdBy), /sleep 1000/);
  const [image] = (await cli.json(["inspect", "made:1"])) as {
    author: string;
    config: { Labels: unknown };
  }[];
  assert.deepEqual([image?.author, image?.config.Labels], ["me", { of: "base" }]);
  await cli.do(["rmi", "base:1"]);
  await cli.do(["tag", "made:1", "base:1"]);
  await cli.do(["commit", "builder", "again:1"]);
  assert.equal(await sh("again:1", "cat /made; ls -d /bin/vi 2>/dev/null; true"), "made\n");
  await cli.do(["delete", "-f", "builder"]);
  await cli.do(["rmi", "again:1", "base:1"]);
  await cli.do(["load", "-i", path("base-1.tar")]);
});

test("commit refuses what has no image, and what cannot be in one, and then nothing is left of it", async () => {
  await cli.do(["create", "--name", "plain", "--rootfs", daemon.rootfs, "true"]);
  assert.match((await cli.run(["commit", "plain", "x:1"])).stderr, /plain: it was made of no image/);
  await cli.do(["delete", "plain"]);
  await cli.do(["run", "--name", "odd", "--entrypoint", "sh", "base:1", "-c", "echo >/etc/.wh.passwd"]);
  const odd = await cli.run(["commit", "odd", "x:1"]);
  if (daemon.kind === "holdfastd") assert.match(odd.stderr, /\.wh\.passwd: a layer cannot have/);
  await cli.run(["rmi", "x:1"]);
  await cli.do(["delete", "odd"]);
});

test("history tells what an image was made of, the newest first; inspect what it says", async () => {
  const rows = (await cli.json(["history", "base:1"])) as {
    createdBy: string;
    size: number;
    layer: unknown;
  }[];
  assert.deepEqual(
    rows.map(({ createdBy }) => createdBy),
    ["ENV PATH=/bin", "COPY rootfs /"],
  );
  assert.deepEqual([rows[0]?.size, rows[0]?.layer], [0, null]);
  assert.ok((rows[1]?.size ?? 0) > 1_000_000);
  assert.match(await cli.do(["history", "base:1"]), /AGE\s+CREATED BY\s+SIZE/);
  const [image] = JSON.parse(await cli.do(["inspect", "base:1"])) as Record<string, unknown>[];
  assert.equal(image?.name, "docker.io/library/base:1");
  const { Cmd } = (image?.config ?? {}) as { Cmd?: unknown };
  assert.deepEqual(Cmd, ["echo", "by default"]);
});

test("inspect of a container tells what it was made of", async () => {
  await cli.do(["create", "--name", "looked-at", "base:1"]);
  const [image] = JSON.parse(await cli.do(["inspect", "base:1"])) as { manifest: string }[];
  const [found] = JSON.parse(await cli.do(["inspect", "looked-at"])) as {
    imageDetails: { name: string; digest: string };
  }[];
  assert.equal(found?.imageDetails.name, "docker.io/library/base:1");
  assert.equal(found?.imageDetails.digest, image?.manifest);
  await cli.do(["delete", "looked-at"]);
});

test("an image for another machine is refused by what is asked for, and run where nobody asks", async () => {
  const other = await makeImage(daemon.directory, "other:1", { architecture: "s390x" });
  await cli.do(["load", "-i", other]);
  const refused = await cli.run(["run", "--rm", "--platform", "linux/amd64", "other:1", "true"]);
  assert.equal(refused.status, 125);
  assert.match(refused.stderr, /it is for linux\/s390x, not for linux\/amd64/);
  assert.equal((await cli.run(["run", "--rm", "--platform", "a/b/c/d", "other:1", "true"])).status, 125);
  assert.equal(
    await cli.do(["run", "--rm", "--platform", "linux/s390x", "other:1", "echo", "so it is"]),
    "so it is\n",
  );
  await cli.do(["rmi", "other:1"]);
});

test("system df tells what is used, and prune gives back the rest; what runs stays", async () => {
  interface Share {
    type: string;
    total: number;
    active: number;
    size: number;
    reclaimable: number;
  }
  const shares = async (): Promise<Map<string, Share>> =>
    new Map(
      (JSON.parse(await cli.do(["system", "df", "--json"])) as Share[]).map((each) => [each.type, each]),
    );
  await cli.do(["load", "-i", path("base-1.tar")]);
  await cli.do([
    "load",
    "-i",
    await makeImage(daemon.directory, "unused:1", {
      prepare: (root) => writeFileSync(join(root, "own"), "x".repeat(500_000)),
    }),
  ]);
  await cli.do(["run", "-d", "--name", "stays", "--entrypoint", "sleep", "base:1", "1000"]);
  await cli.do([
    "run",
    "--name",
    "ended",
    "--entrypoint",
    "sh",
    "base:1",
    "-c",
    "dd if=/dev/zero of=/big bs=1k count=2000 2>/dev/null",
  ]);
  const before = await shares();
  assert.equal(before.get("containers")?.total, 2);
  assert.equal(before.get("containers")?.active, 1);
  assert.ok((before.get("containers")?.reclaimable ?? 0) >= 2_000_000);
  assert.ok((before.get("images")?.reclaimable ?? 0) >= 500_000);
  assert.match(await cli.do(["system", "df"]), /TYPE\s+TOTAL\s+ACTIVE\s+SIZE\s+RECLAIMABLE/);
  assert.equal((await cli.run(["prune"])).status, 2, "nobody can be asked");
  const first = await cli.do(["prune", "-f"]);
  assert.match(first, /^ended\n(.*\n)*freed [1-9]/);
  assert.match(await cli.do(["images", "-q"]), /unused:1/);
  assert.doesNotMatch(await cli.do(["prune", "-a", "-f"]), /^base/m);
  assert.equal(await cli.do(["images", "-q"]), "docker.io/library/base:1\n");
  assert.equal(await cli.do(["exec", "stays", "echo", "there"]), "there\n");
  const after = await shares();
  assert.equal(after.get("images")?.reclaimable, 0);
  assert.equal(after.get("containers")?.total, 1);
  await cli.do(["delete", "-f", "stays"]);
  await cli.do(["rmi", "base:1"]);
  assert.equal((await daemon.ctr.do(["content", "ls", "-q"])).trim(), "");
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
