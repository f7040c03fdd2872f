// Images by holdfast, on whichever daemon: loaded from archives, run as they say, named and removed.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fullName, shortName } from "../../src/cli/images/reference.ts";
import { check } from "../harness/command.ts";
import { buildRootfs } from "../harness/rootfs.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

const NAME = "docker.io/library/try:1";
const directory = join(daemon.directory, "image");
const architecture = process.arch === "arm64" ? "arm64" : "amd64";
const sha256 = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
const json = (name: string, value: unknown): void =>
  writeFileSync(join(directory, name), JSON.stringify(value));

/** Two layers: the second takes a file of the first away. */
async function makeArchive(): Promise<string> {
  const rootfs = buildRootfs(join(directory, "rootfs"));
  writeFileSync(join(rootfs, "etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n");
  writeFileSync(join(rootfs, "etc/group"), "web:x:44:\nadm:x:55:web\n");
  writeFileSync(join(rootfs, "below"), "below");
  const top = join(directory, "top");
  mkdirSync(top);
  writeFileSync(join(top, ".wh.below"), "");
  writeFileSync(join(top, "above"), "above");
  await check(["tar", "-C", rootfs, "-cf", join(directory, "one.tar"), "."]);
  await check(["tar", "-C", top, "-czf", join(directory, "two.tar.gz"), "."]);
  await check(["tar", "-C", top, "-cf", join(directory, "two.tar"), "."]);
  const uncompressed = createHash("sha256").update(
    Buffer.from((await import("node:zlib")).gunzipSync(readFileSync(join(directory, "two.tar.gz")))),
  );
  json("config.json", {
    architecture,
    os: "linux",
    config: {
      Env: ["PATH=/bin", "FROM=image"],
      Entrypoint: ["echo"],
      Cmd: ["by default"],
      User: "web",
      WorkingDir: "/tmp",
      StopSignal: "SIGUSR1",
    },
    rootfs: {
      type: "layers",
      diff_ids: [`sha256:${sha256(join(directory, "one.tar"))}`, `sha256:${uncompressed.digest("hex")}`],
    },
  });
  json("manifest.json", [{ Config: "config.json", RepoTags: ["try:1"], Layers: ["one.tar", "two.tar.gz"] }]);
  const archive = join(daemon.directory, "image.tar");
  await check([
    "tar",
    "-C",
    directory,
    "-cf",
    archive,
    "manifest.json",
    "config.json",
    "one.tar",
    "two.tar.gz",
  ]);
  return archive;
}

mkdirSync(directory);
const archive = await makeArchive();

test("a file that is not there, and one that is a directory, are told in a line", async () => {
  const nowhere = join(directory, "nosuch");
  for (const words of [
    ["load", "-i", nowhere],
    ["import", nowhere, "x:1"],
  ]) {
    const { status, stderr } = await cli.run(words);
    assert.deepEqual([status, stderr], [1, `holdfast: ${nowhere}: no such file\n`], words.join(" "));
  }
  const { status, stderr } = await cli.run(["load", "-i", directory]);
  assert.deepEqual([status, stderr], [1, `holdfast: ${directory}: is a directory\n`]);
});

test("an archive of docker save is loaded, from a file and from a pipe", async () => {
  assert.equal((await cli.run(["load", "-i", archive])).stdout, `${NAME}\n`);
  const piped = await cli.run(["load"], { stdin: readFileSync(archive) });
  assert.deepEqual([piped.status, piped.stdout], [0, `${NAME}\n`]);
  assert.equal((await cli.run(["images", "-q"])).stdout, `${NAME}\n`);
  const [image] = JSON.parse((await cli.run(["images", "--json"])).stdout) as {
    size: number;
    digest: string;
  }[];
  assert.ok((image?.size ?? 0) > 1_000_000);
  assert.match(image?.digest ?? "", /^sha256:[0-9a-f]{64}$/);
});

test("a container has its image's command, environment, user, directory and layers", async () => {
  assert.equal((await cli.run(["run", "--rm", "try:1"])).stdout, "by default\n");
  assert.equal((await cli.run(["run", "--rm", "try:1", "in", "its", "place"])).stdout, "in its place\n");
  const script = 'id; pwd; echo "$FROM"; cat /above; ls /below';
  const look = await cli.run(["run", "--rm", "--entrypoint", "sh", "try:1", "-c", script]);
  assert.deepEqual(look.stdout.split("\n"), [
    "uid=33(web) gid=44(web) groups=55(adm)",
    "/tmp",
    "image",
    "above",
  ]);
  assert.match(look.stderr, /below: No such file/);
  const flags = ["-u", "0", "-w", "/", "-e", "FROM=flags"];
  const other = await cli.run([
    "run",
    "--rm",
    ...flags,
    "--entrypoint",
    "sh",
    "try:1",
    "-c",
    'id -u; pwd; echo "$FROM"',
  ]);
  assert.equal(other.stdout, "0\n/\nflags\n");
});

test("a container's changes are its own, and gone with it", async () => {
  const write = ["run", "--rm", "--name", "writer", "-u", "0", "--entrypoint", "sh", "try:1", "-c"];
  assert.equal((await cli.run([...write, "echo changed >/above; rm /bin/true"])).status, 0);
  const again = await cli.run([...write, "cat /above; ls /bin/true"]);
  assert.equal(again.stdout, "above/bin/true\n");
});

test("created, started again and deleted, a container of an image keeps its changes until then", async () => {
  const made = await cli.run([
    "create",
    "--name",
    "twice",
    "-u",
    "0",
    "--entrypoint",
    "sh",
    "try:1",
    "-c",
    "echo x >>/log; cat /log",
  ]);
  assert.equal(made.status, 0, made.stderr);
  assert.equal((await cli.run(["start", "--attach", "twice"])).stdout, "x\n");
  assert.equal((await cli.run(["start", "--attach", "twice"])).stdout, "x\nx\n");
  const inspected = JSON.parse((await cli.run(["inspect", "twice"])).stdout) as unknown;
  assert.match(JSON.stringify(inspected), /docker.io\/library\/try:1/);
  assert.equal((await cli.run(["delete", "twice"])).status, 0);
  const left = await daemon.ctr.do(["snapshots", "ls"]);
  assert.doesNotMatch(left, /^twice /m);
});

test("an image has several names, and what it was goes with the last one", async () => {
  assert.equal((await cli.run(["tag", "try:1", "example.com/other:2"])).status, 0);
  assert.deepEqual((await cli.run(["rmi", "try:1", "nonsense"])).status, 1);
  assert.equal((await cli.run(["run", "--rm", "example.com/other:2", "still"])).stdout, "still\n");
  assert.equal((await cli.run(["rmi", "example.com/other:2"])).stdout, "example.com/other:2\n");
  assert.equal((await cli.run(["images", "-q"])).stdout, "");
  const gone = await cli.run(["run", "--rm", "--pull", "never", "try:1"]);
  assert.deepEqual([gone.status, gone.stdout], [125, ""]);
  assert.match(gone.stderr, /try:1: no such image/);
  assert.equal((await daemon.ctr.do(["content", "ls", "-q"])).trim(), "");
});

test("an OCI layout is loaded by the names in it, or by the one that is given", async () => {
  await cli.run(["load", "-i", archive]);
  const layout = join(daemon.directory, "layout.tar");
  await daemon.ctr.do(["images", "export", layout, NAME]);
  await cli.run(["rmi", NAME]);
  assert.equal((await cli.run(["load", "-i", layout])).stdout, `${NAME}\n`);
  assert.equal((await cli.run(["run", "--rm", "try:1", "again"])).stdout, "again\n");
  await cli.run(["rmi", NAME]);
});

test("what is no archive of an image is refused, and says why", async () => {
  const file = (name: string, data: string): string => {
    const path = join(daemon.directory, name);
    writeFileSync(path, data);
    return path;
  };
  const rubbish = await cli.run(["load", "-i", file("rubbish", "rubbish".repeat(1000))]);
  assert.equal(rubbish.status, 1);
  const absent = await cli.run(["load", "-i", join(daemon.directory, "absent")]);
  assert.match(absent.stderr, /absent/);
  json("manifest.json", [{ Config: "config.json", RepoTags: ["try:1"], Layers: ["absent.tar"] }]);
  const lacking = join(daemon.directory, "lacking.tar");
  await check(["tar", "-C", directory, "-cf", lacking, "manifest.json", "config.json"]);
  const refused = await cli.run(["load", "-i", lacking]);
  assert.deepEqual([refused.status, refused.stdout], [1, ""]);
  assert.match(refused.stderr, /absent\.tar, which is not there/);
  const empty = join(daemon.directory, "empty.tar");
  await check(["tar", "-C", directory, "-cf", empty, "config.json"]);
  assert.match((await cli.run(["load", "-i", empty])).stderr, /neither manifest\.json nor index\.json/);
});

test("a layer that is not what the image says is refused, and leaves no snapshot", async () => {
  json("manifest.json", [{ Config: "config.json", RepoTags: ["lies:1"], Layers: ["two.tar", "one.tar"] }]);
  const lies = join(daemon.directory, "lies.tar");
  await check(["tar", "-C", directory, "-cf", lies, "manifest.json", "config.json", "one.tar", "two.tar"]);
  await cli.run(["load", "-i", lies]);
  const run = await cli.run(["run", "--rm", "lies:1"]);
  assert.equal(run.status, 125);
  assert.match(run.stderr, /unpacks to sha256:/);
  await cli.run(["rmi", "lies:1"]);
  assert.equal((await daemon.ctr.do(["snapshots", "ls"])).trim().split("\n").length, 1);
});

test("names in full and in short", () => {
  const full: [string, string][] = [
    ["redis", "docker.io/library/redis:latest"],
    ["redis:7", "docker.io/library/redis:7"],
    ["me/app", "docker.io/me/app:latest"],
    ["localhost/app", "localhost/app:latest"],
    ["host:5000/a/b:c", "host:5000/a/b:c"],
    [`redis@sha256:${"a".repeat(64)}`, `docker.io/library/redis@sha256:${"a".repeat(64)}`],
  ];
  for (const [text, name] of full) assert.equal(fullName(text), name);
  for (const text of ["", "Redis", "a//b", "a:", "a:b c", "a@sha256:1", `${"a/".repeat(200)}a`, "-a"]) {
    assert.throws(() => fullName(text), /no name of an image/, text);
  }
  assert.equal(shortName("docker.io/library/redis:7"), "redis:7");
  assert.equal(shortName("docker.io/me/app:1"), "me/app:1");
  assert.equal(shortName("host:5000/a:1"), "host:5000/a:1");
});

test("nothing is left behind", async () => assert.equal(await daemon.leftovers(), ""));
