// What containers of `holdfast run` are: limits, scores, masks and capabilities as Docker's, whatever the daemon itself has; users by name; and specs whose
// numbers are 64 bits wide.
import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { CAP_SYS_RESOURCE, hasCapability } from "../../src/cli/containers/security.ts";
import { check } from "../harness/command.ts";
import { compiled, ociSpec } from "../harness/rootfs.ts";
import { onDaemon } from "./cli.ts";

const UNLIMITED = 2n ** 64n - 1n;

/** Whether limits can be raised here: they cannot in many containers. */
const raises = hasCapability(CAP_SYS_RESOURCE);

const { daemon, cli } = await onDaemon();

before(async () => {
  // Nothing of these may reach a container.
  writeFileSync(`/proc/${daemon.pid}/oom_score_adj`, "321");
  if (raises)
    await check([
      "prlimit",
      "--pid",
      String(daemon.pid),
      "--nofile=3333:4444",
      "--core=0:0",
      "--stack=1048576:2097152",
    ]);
  else await check(["prlimit", "--pid", String(daemon.pid), "--nofile=1234:"]);
  copyFileSync(compiled("clone-new"), join(daemon.rootfs, "bin/clone-new"));
  const etc = join(daemon.rootfs, "etc");
  writeFileSync(
    join(etc, "passwd"),
    "root:x:0:0::/root:/bin/sh\nweb:x:7:8::/:/bin/sh\n5:x:50:51::/:/bin/sh\n",
  );
  writeFileSync(join(etc, "group"), "root:x:0:\nadm:x:4:web,other\nlog:x:9:root,web\n");
});

function args(name: string, ...rest: string[]): string[] {
  daemon.ctr.ids.add(name);
  return ["run", "--rm", "--name", name, "--rootfs", daemon.rootfs, ...rest];
}

/** "NAME: value" lines of a file of /proc. */
function fieldsOf(text: string): Map<string, string> {
  return new Map(text.split("\n").map((line) => [line.split(":")[0] ?? "", line.replace(/^[^:]*:\s*/, "")]));
}

test("scores, limits, capabilities and the mask for files are Docker's, not the daemon's", async () => {
  const script =
    "cat /proc/self/status /proc/self/oom_score_adj; umask; ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Ss; ulimit -Hs";
  const output = await cli.do(args("plain", "--", "sh", "-c", script));
  const status = fieldsOf(output);
  assert.equal(status.get("Seccomp"), "2");
  assert.equal(status.get("NoNewPrivs"), "1");
  assert.equal(status.get("CapBnd"), "00000000a80425fb");
  assert.equal(status.get("CapEff"), "00000000a80425fb");
  assert.equal(status.get("CapInh"), "0000000000000000");
  assert.deepEqual(output.trim().split("\n").slice(-7), [
    "0",
    "0022",
    "1024",
    ...(raises ? ["524288", "unlimited", "8192", "unlimited"] : output.trim().split("\n").slice(-4)),
  ]);
});

test("capabilities are added and dropped as with Docker, and with them the calls that they are for", async () => {
  const masks = async (name: string, ...flags: string[]): Promise<(string | undefined)[]> => {
    const status = fieldsOf(await cli.do(args(name, ...flags, "--", "cat", "/proc/self/status")));
    return [status.get("CapBnd"), status.get("CapEff")];
  };
  const both = (mask: string): string[] => [mask, mask];
  assert.deepEqual(
    await masks("less", "--cap-drop", "chown", "--cap-drop", "CAP_KILL"),
    both("00000000a80425da"),
  );
  assert.deepEqual(await masks("none", "--cap-drop", "ALL"), both("0000000000000000"));
  assert.deepEqual(await masks("one", "--cap-drop", "all", "--cap-add", "KILL"), both("0000000000000020"));
  // Dropped and added: as Docker adds after it has dropped.
  assert.deepEqual(await masks("again", "--cap-drop", "KILL", "--cap-add", "KILL"), both("00000000a80425fb"));
  const all = (await masks("privileged", "--privileged"))[0] ?? "";
  assert.deepEqual(await masks("all", "--cap-add", "ALL"), both(all));
});

test("--ulimit and --pids-limit hold, and what they do not name is as it was", async () => {
  const limits = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Ss";
  const flags = ["--ulimit", "nofile=333:444", "--ulimit", "core=0"];
  const output = await cli.do([...args("limited", ...flags), "--", "sh", "-c", limits]);
  assert.deepEqual(output.trim().split("\n").slice(0, 3), ["333", "444", "0"]);
  if (raises) assert.equal(output.trim().split("\n")[3], "8192");
  // The specification of the runtime allows no two of a name, though runc takes the last.
  await cli.do(["create", "--name", "two", ...flags, "--rootfs", daemon.rootfs, "true"]);
  const [{ spec } = { spec: undefined }] = (await cli.json(["inspect", "two"])) as {
    spec?: { process: { rlimits: { type: string }[] } };
  }[];
  const types = (spec?.process.rlimits ?? []).map(({ type }) => type);
  assert.equal(types.filter((type) => type === "RLIMIT_NOFILE").length, 1);
  assert.equal(new Set(types).size, types.length);
  await cli.do(["delete", "two"]);
  const forks = "for n in $(seq 60); do sleep 1000 & done; echo forked";
  assert.match(
    (await cli.run(args("few", "--pids-limit", "40", "--", "sh", "-c", forks))).stderr,
    /can't fork/,
  );
  assert.equal(await cli.do(args("many", "--pids-limit", "100", "--", "sh", "-c", forks)), "forked\n");
});

test("calls that Docker's profile refuses are refused, and unconfined and privileged containers may make them", async () => {
  // Of its own namespaces a process may have more with unshare; mount fails for want of a capability as well.
  const unshare = ["--", "unshare", "-U", "true"];
  assert.match((await cli.run(args("confined", ...unshare))).stderr, /Operation not permitted/);
  assert.equal((await cli.run(args("free", "--security-opt", "seccomp=unconfined", ...unshare))).status, 0);
  const cloned = async (name: string, ...flags: string[]): Promise<string[]> =>
    (await cli.do(args(name, ...flags, "--", "clone-new"))).trim().split("\n");
  assert.deepEqual(await cloned("cloning"), [
    "clone: made",
    "clone into a user namespace: EPERM",
    // As on a kernel that has no clone3: programs take clone then, whose flags can be seen.
    "clone3: ENOSYS",
  ]);
  const free = ["clone: made", "clone into a user namespace: made", "clone3: made"];
  assert.deepEqual(await cloned("cloning-free", "--security-opt", "seccomp=unconfined"), free);
  const privileged =
    "unshare -m mount -t tmpfs none /tmp && grep -E 'Seccomp:|CapEff|NoNew' /proc/self/status && dd if=/dev/kmsg count=0 && touch /proc/sys/vm/nosuch";
  const output = await cli.run(args("mighty", "--privileged", "--", "sh", "-c", privileged));
  assert.match(output.stdout, /CapEff:\t[0-9a-f]{10}ffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n/);
  assert.match(output.stderr, /nosuch: (No such file|Permission denied|Operation not permitted)/);
});

test("a profile in a file is used, in OCI's form and in Docker's with its conditions", async () => {
  const file = join(daemon.directory, "seccomp.json");
  const rule = { names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 95 };
  writeFileSync(file, JSON.stringify({ defaultAction: "SCMP_ACT_ALLOW", syscalls: [rule] }));
  const line = ["--security-opt", `seccomp=${file}`, "--", "mkdir", "/tmp/x"];
  assert.match((await cli.run(args("oci-profile", ...line))).stderr, /Not supported|not supported/);
  const docker = {
    defaultAction: "SCMP_ACT_ALLOW",
    archMap: [],
    syscalls: [
      { ...rule, includes: { caps: ["CAP_SYS_ADMIN"] } },
      {
        names: ["rmdir", "unlinkat"],
        action: "SCMP_ACT_ERRNO",
        errnoRet: 95,
        excludes: { caps: ["CAP_SYS_ADMIN"] },
      },
    ],
  };
  writeFileSync(file, JSON.stringify(docker));
  const both = ["--security-opt", `seccomp=${file}`, "--", "sh", "-c", "mkdir /tmp/made && rmdir /tmp/made"];
  const output = await cli.run(args("docker-profile", ...both));
  assert.match(output.stderr, /^rmdir: .*(Not|not) supported/);
  writeFileSync(file, "{}");
  assert.match((await cli.run(args("no-profile", ...line))).stderr, /no seccomp profile/);
});

const who = "id -u; id -g; id -G; grep CapEff /proc/self/status";
const users: readonly (readonly [user: string, uid: string, gid: string, groups: string])[] = [
  ["web", "7", "8", "8 4 9"],
  ["7", "7", "8", "8 4 9"],
  ["web:adm", "7", "4", "4"],
  ["7:9", "7", "9", "9"],
  ["77", "77", "0", "0"],
  // A name may look like a number.
  ["5", "50", "51", "51"],
];
for (const [user, ...ids] of users) {
  test(`--user ${user} is looked up in the container's own files, by run and by exec`, async () => {
    const name = `user-${user.replace(":", "-")}`;
    const sorted = (text: string): string[] => text.split(" ").sort();
    const expect = (stdout: string): void => {
      const [uid, gid, groups = "", caps] = stdout.trim().split("\n");
      assert.deepEqual([uid, gid, sorted(groups)], [ids[0], ids[1], sorted(ids[2])]);
      assert.equal(caps, "CapEff:\t0000000000000000");
    };
    expect(await cli.do(args(name, "-u", user, "--", "sh", "-c", who)));
    await cli.do([...args(`${name}-x`, "-d"), "--", "sleep", "1000"]);
    expect(await cli.do(["exec", "-u", user, `${name}-x`, "sh", "-c", who]));
    await cli.do(["delete", "-f", `${name}-x`]);
  });
}

test("an exec as somebody else has no capability, although the container's own user keeps some", async () => {
  const bundle = join(daemon.directory, "ambient");
  mkdirSync(bundle);
  const spec = ociSpec({ args: ["sleep", "1000"], rootfs: daemon.rootfs, cgroupsPath: "" });
  const kept = ["CAP_KILL"];
  const capabilities = { bounding: kept, effective: kept, permitted: kept, inheritable: kept, ambient: kept };
  const user = { uid: 77, gid: 0 };
  const process = { ...(spec.process as object), user, capabilities };
  writeFileSync(join(bundle, "config.json"), JSON.stringify({ ...spec, process }));
  daemon.ctr.ids.add("ambient");
  await cli.do(["run", "-d", "--name", "ambient", "--bundle", bundle]);
  const effective = ["grep", "CapEff", "/proc/self/status"];
  assert.equal(await cli.do(["exec", "ambient", ...effective]), "CapEff:\t0000000000000020\n");
  assert.equal(await cli.do(["exec", "-u", "78", "ambient", ...effective]), "CapEff:\t0000000000000000\n");
  await cli.do(["delete", "-f", "ambient"]);
});

test("passwd is read inside the root file system only, and nothing that blocks or never ends", async () => {
  const passwd = join(daemon.rootfs, "etc/passwd");
  const outside = join(daemon.directory, "outside");
  writeFileSync(outside, "evil:x:0:0::/:/bin/sh\n");
  mkdirSync(join(daemon.rootfs, "etc/real"));
  writeFileSync(join(daemon.rootfs, "etc/real/passwd"), "inside:x:3:3::/:/bin/sh\n");
  await cli.do([...args("links", "-d"), "--", "sleep", "1000"]);
  const tried = async (name: string): Promise<number[]> => [
    (await cli.run(args(`links-${name}`, "-u", name, "--", "true"))).status,
    (await cli.run(["exec", "-u", name, "links", "true"])).status,
  ];
  const plain = "web:x:7:8::/:/bin/sh\n";
  try {
    for (const link of [outside, `../../../../../../../../..${outside}`, "/proc/self/fd/0", "passwd"]) {
      unlinkSync(passwd);
      symlinkSync(link, passwd);
      assert.deepEqual(await tried("evil"), [125, 125], link);
    }
    for (const link of ["/etc/real/passwd", "real/passwd", "../../../etc/./real/passwd"]) {
      unlinkSync(passwd);
      symlinkSync(link, passwd);
      assert.deepEqual(await tried("inside"), [0, 0], link);
    }
    unlinkSync(passwd);
    await check(["mkfifo", passwd]);
    const line = "evil:x:0:0::/:/bin/sh\n";
    const writing = writeFile(passwd, line);
    assert.deepEqual(await tried("evil"), [125, 125]);
    // Nobody has opened it, not even for a moment: whoever writes to it still waits for a reader.
    assert.equal(await check(["timeout", "60", "cat", passwd]), line);
    await writing;
    unlinkSync(passwd);
    writeFileSync(passwd, line.padEnd(2 << 20, "\n"));
    assert.deepEqual(await tried("evil"), [125, 125]);
    writeFileSync(passwd, line.padEnd(1 << 20, "\n"));
    assert.deepEqual(await tried("evil"), [0, 0]);
  } finally {
    rmSync(passwd);
    writeFileSync(passwd, plain);
    await cli.do(["delete", "-f", "links"]);
  }
});

test("a limit of 2^64 - 1 in a bundle stays one in run, inspect and exec", async () => {
  const bundle = join(daemon.directory, "wide");
  mkdirSync(bundle);
  const spec = ociSpec({ args: ["sleep", "1000"], rootfs: daemon.rootfs, cgroupsPath: "" });
  const limits = `[{"type":"RLIMIT_FSIZE","hard":${UNLIMITED},"soft":9007199254740993}]`;
  const process = JSON.stringify({ ...(spec.process as object), rlimits: 0 }).replace(
    '"rlimits":0',
    `"rlimits":${limits}`,
  );
  writeFileSync(
    join(bundle, "config.json"),
    JSON.stringify({ ...spec, process: 0 }).replace('"process":0', `"process":${process}`),
  );
  daemon.ctr.ids.add("wide");
  await cli.do(["run", "-d", "--name", "wide", "--bundle", bundle]);
  const shown = await cli.do(["inspect", "wide"]);
  assert.match(shown, /"hard": 18446744073709551615,\n\s*"soft": 9007199254740993\n/);
  const limit = await cli.do(["exec", "wide", "grep", "file.size", "/proc/self/limits"]);
  assert.match(limit, /9007199254740993 +unlimited/);
  await cli.do(["delete", "-f", "wide"]);
});
