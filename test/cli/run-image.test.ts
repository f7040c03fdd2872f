// What run and create make of an image and of flags: volumes, mounts, variables, users, signals; and images that lie. On whichever daemon.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { onDaemon } from "./cli.ts";
import { makeImage } from "./image-source.ts";

const { daemon, cli } = await onDaemon();
const path = (name: string): string => join(daemon.directory, name);
const load = async (name: string, options: Parameters<typeof makeImage>[2]): Promise<void> => {
  await cli.do(["load", "-i", await makeImage(daemon.directory, name, options)]);
};
const sh = (flags: readonly string[], script: string, image = "app:1"): Promise<string> =>
  cli.do(["run", "--rm", ...flags, "--entrypoint", "sh", image, "-c", script]);

before(() =>
  load("app:1", {
    config: {
      Volumes: { "/data": {}, "/new/volume": {} },
      StopSignal: "SIGUSR1",
      Env: ["PATH=/bin", "A=image"],
    },
    prepare: (root) => {
      mkdirSync(join(root, "data"), { mode: 0o750 });
      writeFileSync(join(root, "data/seed"), "seed");
      execFileSync("chown", ["-R", "33:44", join(root, "data")]);
    },
  }),
);

test("volumes that the image declares are the container's own, with what the image has there, also where its root is read-only", async () => {
  const look =
    "stat -c '%u:%g %a' /data; cat /data/seed; ls -a /new/volume; echo x >/data/x && echo x >/new/volume/x && ls /data";
  assert.equal(await sh(["--read-only"], look), "33:44 750\nseed.\n..\nseed\nx\n");
  assert.equal(await sh([], "ls /data"), "seed\n");
});

test("a declared volume goes with its container, and stays for a second start", async () => {
  await cli.do([
    "create",
    "--name",
    "twice",
    "--entrypoint",
    "sh",
    "app:1",
    "-c",
    "echo x >>/data/log; cat /data/log",
  ]);
  assert.equal(await cli.do(["start", "--attach", "twice"]), "x\n");
  assert.equal(await cli.do(["start", "--attach", "twice"]), "x\nx\n");
  assert.match(await daemon.ctr.do(["snapshots", "ls"]), /^twice-volumes/m);
  await cli.do(["delete", "twice"]);
  assert.doesNotMatch(await daemon.ctr.do(["snapshots", "ls"]), /twice/);
});

test("--volume binds a directory of the host, which it makes if need be; ro is read-only; it goes before what the image declares", async () => {
  const host = path("shared");
  const flags = ["-v", `${host}:/data`, "-v", `${path("made")}/deep:/other:ro`];
  assert.equal(
    await sh(flags, "echo there >/data/f; ls /data; echo x 2>/dev/null >/other/x || echo refused"),
    "f\nrefused\n",
  );
  assert.equal(readFileSync(join(host, "f"), "utf8"), "there\n");
  assert.deepEqual(readdirSync(path("made/deep")), []);
  const relative = await cli.run(
    ["run", "--rm", "-v", "./shared:/x", "--entrypoint", "cat", "app:1", "/x/f"],
    { cwd: daemon.directory },
  );
  assert.equal(relative.stdout, "there\n");
  for (const [flag, text] of [
    ["name:/x", /no volumes by name/],
    ["/x", /DIR:DIR/],
    ["/tmp:x", /as in \/data/],
    ["/tmp:/x:huh", /huh/],
    ["/tmp:/", /the root is the image's/],
  ] as const) {
    const refused = await cli.run(["run", "--rm", "-v", flag, "app:1", "true"]);
    assert.equal(refused.status, 125, flag);
    assert.match(refused.stderr, text);
  }
  const twice = await cli.run(["run", "--rm", "-v", "/tmp:/x", "--tmpfs", "/x/", "app:1", "true"]);
  assert.match(twice.stderr, /two mounts are for that place/);
});

test("a mount below another comes after it, in whatever order they are given", async () => {
  for (const name of ["outer", "inner"]) {
    mkdirSync(path(name));
    writeFileSync(path(`${name}/${name}`), name);
  }
  mkdirSync(path("outer/below"));
  const flags = ["-v", `${path("inner")}:/m/below`, "-v", `${path("outer")}:/m`];
  assert.equal(await sh(flags, "cat /m/outer /m/below/inner"), "outerinner");
});

test("--tmpfs is memory, with its options, also in place of what is there by default", async () => {
  const output = await sh(
    ["--tmpfs", "/t:size=64k,mode=1777", "--tmpfs", "/run:exec"],
    "grep -E ' /(t|run) ' /proc/mounts",
  );
  assert.match(output, /tmpfs \/t tmpfs rw,nosuid,nodev,noexec,.*size=64k/);
  assert.doesNotMatch(output, /\/run tmpfs.*noexec/);
  assert.equal(output.trim().split("\n").length, 2);
});

test("--env-file comes after the image's variables and before --env", async () => {
  writeFileSync(path("env"), "# comment\n\nA=file\nB=file with spaces\nC\r\n D=d\n");
  const output = await cli.run(
    [
      "run",
      "--rm",
      "--env-file",
      path("env"),
      "-e",
      "B=flag",
      "--entrypoint",
      "sh",
      "app:1",
      "-c",
      'echo "$A|$B|$C|$D"',
    ],
    { env: { C: "from here" } },
  );
  assert.equal(output.stdout, "file|flag|from here|d\n", output.stderr);
  writeFileSync(path("env"), "no name=x\n");
  const refused = await cli.run(["run", "--rm", "--env-file", path("env"), "app:1", "true"]);
  assert.match(refused.stderr, /env, line 1/);
  assert.match(
    (await cli.run(["run", "--rm", "--env-file", path("nosuch"), "app:1"])).stderr,
    /nosuch: no such file/,
  );
});

test("--workdir is made if the image does not have it; --user may be a name of the image", async () => {
  assert.equal(await sh(["--workdir", "/not/there"], "pwd"), "/not/there\n");
  assert.equal(await sh(["-u", "web"], "id"), "uid=33(web) gid=44(web) groups=55(adm)\n");
  assert.equal(await sh(["-u", "web:adm"], "id -g"), "55\n");
  assert.match((await cli.run(["run", "--rm", "-u", "nobody", "app:1", "true"])).stderr, /has no nobody/);
});

test("stop sends the image's stop signal", async () => {
  const script = "trap 'echo usr1; exit 5' USR1; echo ready; while :; do sleep 0.1; done";
  await cli.do(["run", "-d", "--name", "stopped", "--entrypoint", "sh", "app:1", "-c", script]);
  await cli.do(["exec", "stopped", "true"]);
  const ready = cli.spawn(["logs", "-f", "stopped"]);
  await ready.printed(/ready/);
  await cli.do(["stop", "stopped"]);
  await ready.exited;
  assert.equal(await cli.do(["wait", "stopped"]), "5\n");
  await cli.do(["delete", "stopped"]);
});

const passwd = (root: string): string => join(root, "etc/passwd");
const TRAPS: Record<string, (root: string) => void> = {
  "a fifo": (root) => execFileSync("mkfifo", [passwd(root)]),
  "a gigabyte of nothing": (root) => {
    writeFileSync(passwd(root), "");
    truncateSync(passwd(root), 1024 ** 3);
  },
  "a directory": (root) => void mkdirSync(passwd(root)),
  "a link to a device": (root) => symlinkSync("/dev/null-of-the-image", passwd(root)),
};

for (const [what, make] of Object.entries(TRAPS)) {
  test(`an image whose /etc/passwd is ${what} is refused at once: the runtime would hang on it`, async () => {
    const image = `trap-${Object.keys(TRAPS).indexOf(what)}:1`;
    await load(image, {
      prepare: (root) => {
        rmSync(passwd(root));
        execFileSync("mknod", [join(root, "dev/null-of-the-image"), "c", "1", "3"]);
        make(root);
      },
    });
    for (const user of ["root", "12:13", "daemon"]) {
      const refused = await cli.run(["run", "--rm", "-u", user, image, "true"]);
      assert.equal(refused.status, 125);
      assert.match(refused.stderr, /the image's \/etc\/passwd is no plain file/);
    }
    await cli.do(["rmi", image]);
  });
}

test("an /etc/passwd that leads out of the image is looked for in it", async () => {
  await load("leads-out:1", {
    prepare: (root) => {
      rmSync(passwd(root));
      symlinkSync("../../../../../../../../etc/shadow-of-nobody", passwd(root));
    },
  });
  const refused = await cli.run(["run", "--rm", "-u", "daemon", "leads-out:1", "true"]);
  assert.match(refused.stderr, /has no daemon/);
  assert.equal(await cli.do(["run", "--rm", "-u", "12:13", "leads-out:1", "id", "-u"]), "12\n");
  await cli.do(["rmi", "leads-out:1"]);
});

test("run leaves no lease, and where it makes no container no fifos either", async () => {
  await cli.do(["run", "--rm", "app:1", "true"]);
  for (const refused of [
    ["--pull", "never", "test.invalid/none:1"],
    ["-u", "nobody-there", "app:1", "true"],
  ])
    assert.equal((await cli.run(["run", "--rm", ...refused])).status, 125);
  assert.deepEqual(readdirSync(cli.fifos), []);
  assert.equal(await daemon.ctr.do(["leases", "ls", "-q"]), "");
});

test("nothing is left behind", async () => {
  await cli.do(["rmi", "app:1"]);
  await daemon.ctr.do(["content", "ls", "-q"]);
  assert.equal(await daemon.leftovers(), "");
});
