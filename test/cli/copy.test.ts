// Files copied in and out of containers by holdfast, and what a container has changed; on whichever daemon.
import assert from "node:assert/strict";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { check } from "../harness/command.ts";
import { onDaemon } from "./cli.ts";
import { makeImage } from "./image-source.ts";

const { daemon, cli } = await onDaemon();
let count = 0;
const fresh = (): string => {
  const path = join(daemon.directory, `host-${count++}`);
  mkdirSync(path);
  return path;
};
const inside = (script: string): Promise<string> => cli.do(["exec", "box", "sh", "-c", script]);

before(async () => {
  const prepare = (root: string): void => {
    mkdirSync(join(root, "srv/below"), { recursive: true });
    writeFileSync(join(root, "srv/file"), "of the image");
    symlinkSync("/etc", join(root, "srv/absolute"));
    symlinkSync("file", join(root, "srv/link"));
    // As images made from nothing: the runtime makes what is mounted on.
    for (const name of ["dev", "proc", "sys"]) rmSync(join(root, name), { recursive: true, force: true });
  };
  await cli.do(["load", "-i", await makeImage(daemon.directory, "box:1", { prepare })]);
  for (const id of ["box", "still"]) {
    await cli.do(["create", "--name", id, "--entrypoint", "sleep", "box:1", "1000"]);
  }
  await cli.do(["start", "box"]);
});

for (const id of ["box", "still"]) {
  test(`files come out of a container that ${id === "box" ? "runs" : "does not run"}, and are ours`, async () => {
    const host = fresh();
    await cli.do(["cp", `${id}:/srv/file`, host]);
    await cli.do(["cp", `${id}:srv/file`, join(host, "renamed")]);
    assert.equal(readFileSync(join(host, "file"), "utf8"), "of the image");
    assert.equal(readFileSync(join(host, "renamed"), "utf8"), "of the image");
    await cli.do(["cp", `${id}:/srv`, host]);
    assert.deepEqual(readdirSync(join(host, "srv")).sort(), ["absolute", "below", "file", "link"]);
    await cli.do(["cp", `${id}:/srv`, join(host, "new")]);
    assert.deepEqual(readdirSync(join(host, "new")).sort(), ["absolute", "below", "file", "link"]);
    const content = fresh();
    await cli.do(["cp", `${id}:/srv/.`, content]);
    assert.deepEqual(readdirSync(content).sort(), ["absolute", "below", "file", "link"]);
    await cli.do(["cp", `${id}:/srv/link`, host]);
    assert.equal(readlinkSync(join(host, "link")), "file");
    await cli.do(["cp", "-L", `${id}:/srv/link`, join(host, "followed")]);
    assert.equal(readFileSync(join(host, "followed"), "utf8"), "of the image");
    assert.equal(statSync(join(host, "file")).uid, process.getuid?.());
  });

  test(`files go into a container that ${id === "box" ? "runs" : "does not run"}, and are root's`, async () => {
    const host = fresh();
    mkdirSync(join(host, "tree/deep"), { recursive: true });
    writeFileSync(join(host, "tree/deep/ü"), id);
    await check(["chown", "-R", "12:13", join(host, "tree")]);
    await cli.do(["cp", join(host, "tree"), `${id}:/tmp`]);
    await cli.do(["cp", join(host, "tree/deep/ü"), `${id}:/tmp/name`]);
    await cli.do(["cp", "-a", join(host, "tree"), `${id}:/tmp/kept`]);
    const back = fresh();
    await cli.do(["cp", "-a", `${id}:/tmp/.`, back]);
    assert.equal(readFileSync(join(back, "tree/deep/ü"), "utf8"), id);
    assert.equal(readFileSync(join(back, "name"), "utf8"), id);
    assert.deepEqual([statSync(join(back, "tree")).uid, statSync(join(back, "kept")).gid], [0, 13]);
  });
}

test("links of a container lead nowhere but into it, and what it has on the host's side stays in the directory that is named", async () => {
  const host = fresh();
  const victim = fresh();
  await inside(
    `ln -s ${victim} /srv/out; ln -s /../../../../../../${victim} /srv/up; mkdir /srv/evil; ln -s ${victim} /srv/evil/x`,
  );
  const out = await cli.run(["cp", join(daemon.directory, "image.tar"), "box:/srv/out/file"]);
  assert.notEqual(out.status, 0);
  await inside(`mkdir -p ${victim}`);
  writeFileSync(join(host, "poison"), "poison");
  for (const way of ["out", "up"]) await cli.do(["cp", join(host, "poison"), `box:/srv/${way}/`]);
  assert.equal(await inside(`cat ${victim}/poison`), "poison");
  assert.deepEqual(readdirSync(victim), []);
  // The same name is a link first, and a directory with a file in the next copy.
  await cli.do(["cp", "box:/srv/evil", host]);
  assert.equal(readlinkSync(join(host, "evil/x")), victim);
  await inside(`rm /srv/evil/x; mkdir /srv/evil/x; echo poison >/srv/evil/x/file`);
  await cli.do(["cp", "box:/srv/evil", host]);
  assert.deepEqual(readdirSync(victim), []);
  assert.ok(lstatSync(join(host, "evil/x")).isDirectory());
});

test("a tar goes in by our input, and comes out on our output", async () => {
  const out = await cli.shell('"$H" cp box:/srv/file - | tar -xO').exited;
  assert.equal(out.stdout, "of the image");
  const host = fresh();
  writeFileSync(join(host, "piped"), "piped");
  const into = await cli.shell(`tar -C ${host} -c piped | "$H" cp - box:/srv`).exited;
  assert.deepEqual([into.status, into.stderr], [0, ""]);
  assert.equal(await inside("cat /srv/piped"), "piped");
  const refused = await cli.shell(`tar -C ${host} -c piped | "$H" cp - box:/srv/file`).exited;
  assert.match(refused.stderr, /an archive is unpacked into a directory/);
});

test("from one container to another", async () => {
  await cli.do(["cp", "box:/srv/file", "still:/srv/from-box"]);
  const host = fresh();
  await cli.do(["cp", "still:/srv/from-box", host]);
  assert.equal(readFileSync(join(host, "from-box"), "utf8"), "of the image");
});

test("what makes no sense is refused, and nothing is made", async () => {
  const host = fresh();
  writeFileSync(join(host, "file"), "x");
  const cases: [string[], RegExp][] = [
    [["box:/nosuch", host], /box:\/nosuch: no such file/],
    [[join(host, "nosuch"), "box:/srv"], /nosuch: no such file/],
    [[join(host, "file"), "box:/nosuch/file"], /no such directory/],
    [[join(host, "file"), "box:/nosuch/"], /no such directory/],
    [[host, "box:/srv/file"], /is a directory, and .* a file/],
    [["box:/srv/file/", host], /no such file|not a directory/],
    [[join(host, "file"), "box:/dev/null"], /neither a file nor a directory/],
    [[join(host, "file"), join(host, "other")], /neither of them is in a container/],
    [["nobody:/x", host], /nobody/],
    [["box:", host], /give a path in the container/],
  ];
  for (const [words, text] of cases) {
    const { status, stderr } = await cli.run(["cp", ...words]);
    assert.notEqual(status, 0, words.join(" "));
    assert.match(stderr, text, words.join(" "));
  }
  assert.deepEqual(readdirSync(host), ["file"]);
});

test("a fifo, a device and a socket in a directory do not hold a copy up", async () => {
  await inside("mkdir /srv/odd; mkfifo /srv/odd/fifo; mknod /srv/odd/null c 1 3; echo x >/srv/odd/file");
  const host = fresh();
  await cli.do(["cp", "box:/srv/odd", host]);
  assert.ok(lstatSync(join(host, "odd/fifo")).isFIFO());
  assert.ok(existsSync(join(host, "odd/file")));
});

test("diff lists what a container has changed of its image, whether it runs or not", async () => {
  await cli.do([
    "run",
    "--name",
    "changer",
    "-v",
    `${fresh()}:/mnt/deep/volume`,
    "-v",
    `${fresh()}:/opt/volume`,
    "--entrypoint",
    "sh",
    "box:1",
    "-c",
    "echo x >/srv/new; rm /srv/link; echo more >>/srv/file; mkdir '/srv/a b'; echo x >/opt/own",
  ]);
  const lines = (await cli.do(["diff", "changer"])).trim().split("\n");
  const inSrv = ["C /srv", "A /srv/a b", "C /srv/file", "D /srv/link", "A /srv/new"];
  assert.deepEqual(lines, ["A /opt", "A /opt/own", ...inSrv]);
  const [first] = (await cli.json(["diff", "changer"])) as unknown[];
  assert.deepEqual(first, { kind: "A", path: "/opt" });
  assert.match(await cli.do(["diff", "box"]), /^A \/srv\/odd$/m);
  await cli.do(["create", "--name", "plain", "--rootfs", daemon.rootfs, "true"]);
  assert.match((await cli.run(["diff", "plain"])).stderr, /no image that it could differ from/);
  await cli.do(["delete", "changer", "plain"]);
});

test("nothing is left behind", async () => {
  await cli.do(["delete", "-f", "box", "still"]);
  await cli.do(["rmi", "box:1"]);
  assert.equal(await daemon.leftovers(), "");
});
