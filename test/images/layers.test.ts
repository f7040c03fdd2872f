// Layers, also such as somebody made to do harm, unpacked by the real program: what must be there after it, and that nothing outside of it was touched.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { LayerProgram, type UnpackLimits } from "../../src/images/layer-program.ts";
import { mountArguments } from "../../src/images/mount.ts";
import { eventually } from "../harness/eventually.ts";
import { type Entry, entryBytes, gnuLongName, gzip, tar } from "./tar.ts";
import { bindOf, fresh, into, onTopOf, PROGRAM, scratch, unpack } from "./unpacked.ts";

test("files, modes, owners, times, links and devices are as the layer has them; the digest is of the uncompressed archive", async () => {
  const entries: Entry[] = [
    { name: "dir/", type: "5", mode: 0o1777, uid: 7, gid: 8, mtime: 1_000_000_000 },
    { name: "dir/file", data: "text", mode: 0o4755, uid: 1000, gid: 1001, mtime: 1_111_111_111 },
    { name: "dir/hard", type: "1", link: "dir/file" },
    { name: "soft", type: "2", link: "/dir/file" },
    { name: "null", type: "3", major: 1, minor: 3, mode: 0o666 },
    { name: "pipe", type: "6" },
  ];
  const directory = fresh("root");
  const { digest, size, entries: number } = await unpack(gzip(entries), [bindOf(directory)]);
  assert.equal(digest, `sha256:${createHash("sha256").update(tar(entries)).digest("hex")}`);
  assert.deepEqual([size, number], [tar(entries).length, entries.length]);
  const file = statSync(join(directory, "dir/file"));
  assert.deepEqual(
    [file.mode & 0o7777, file.uid, file.gid, file.mtimeMs],
    [0o4755, 1000, 1001, 1_111_111_111_000],
  );
  const dir = statSync(join(directory, "dir"));
  assert.deepEqual([dir.mode & 0o7777, dir.uid, dir.gid, dir.mtimeMs], [0o1777, 7, 8, 1_000_000_000_000]);
  assert.equal(statSync(join(directory, "dir/hard")).ino, file.ino);
  assert.equal(readlinkSync(join(directory, "soft")), "/dir/file");
  const device = lstatSync(join(directory, "null"));
  assert.ok(device.isCharacterDevice());
  assert.equal(device.rdev, 0x103);
  assert.ok(lstatSync(join(directory, "pipe")).isFIFO());
});

// Found by fuzzing: libarchive made the directory by itself, came back to its path at the end, and opened what was there by then. A pipe never opens.
for (const [kind, type, is] of [
  ["a pipe", "6", "isFIFO"],
  ["a device", "3", "isCharacterDevice"],
  ["a file", "0", "isFile"],
] as const) {
  test(`a file in the way of a directory, and ${kind} in the way of that`, { timeout: 60_000 }, async () => {
    const entries: Entry[] = [
      { name: "a" },
      { name: "a/b", data: "x" },
      { name: "a", type, major: 1, minor: 3 },
    ];
    const directory = await into(tar(entries));
    assert.ok(lstatSync(join(directory, "a"))[is]());
    assert.deepEqual(readdirSync(directory), ["a"]);
    const { upper } = await onTopOf([{ name: "a", data: "below" }], tar([{ name: "a/b", data: "x" }]));
    assert.equal(readFileSync(join(upper, "a/b"), "utf8"), "x");
  });
}

test("whatever the names, nothing outside the root is touched", async () => {
  const outside = fresh("outside");
  writeFileSync(join(outside, "victim"), "whole");
  const victim = join(outside, "victim");
  const names = ["../victim", `${"../".repeat(40)}${victim.slice(1)}`, victim, `./../..//.${victim}`];
  for (const path of names) await into(tar([{ name: "x", data: "broken", pax: { path } }]));
  await into(
    tar([
      { name: "out", type: "2", link: outside },
      { name: "out/victim", data: "broken" },
      { name: "up", type: "2", link: "../../../../../../../../../../" },
      { name: `up${victim}`, data: "broken" },
    ]),
  );
  await into(
    tar([
      { name: "a", type: "2", link: "b" },
      { name: "b", type: "2", link: victim },
      { name: "a", data: "broken" },
      { name: "c", type: "2", link: victim },
      { name: "d/.wh.x" },
    ]),
  );
  assert.equal(readFileSync(victim, "utf8"), "whole");
  assert.deepEqual(readdirSync(outside), ["victim"]);
});

test("a hard link to something outside is one to the same name inside, or refused", async () => {
  await assert.rejects(
    into(tar([{ name: "passwd", type: "1", link: "../../../../../../etc/passwd" }])),
    /cannot make passwd/,
  );
});

test("a link that leads in a circle is an error, not the end of the program", async () => {
  await assert.rejects(
    into(
      tar([
        { name: "a", type: "2", link: "b" },
        { name: "b", type: "2", link: "a" },
        { name: "a/file", data: "x" },
      ]),
    ),
    /too many levels of symbolic links/,
  );
});

test("a link to a directory that comes later is followed inside the root", async () => {
  const directory = await into(
    tar([
      { name: "var/run", type: "2", link: "/run" },
      { name: "var/run/x", data: "1" },
    ]),
  );
  assert.equal(readFileSync(join(directory, "run/x"), "utf8"), "1");
});

test("a file takes the place of a link, a directory and a file of the same name; directories stay", async () => {
  const directory = await into(
    tar([
      { name: "a/", type: "5" },
      { name: "a/old", data: "old" },
      { name: "a/", type: "5", mode: 0o700 },
      { name: "b/", type: "5" },
      { name: "b/old", data: "old" },
      { name: "b", data: "file now" },
      { name: "c", type: "2", link: "a/old" },
      { name: "c", data: "no link" },
      { name: "self", data: "kept" },
      { name: "self", type: "1", link: "./self" },
    ]),
  );
  assert.equal(readFileSync(join(directory, "a/old"), "utf8"), "old");
  assert.equal(statSync(join(directory, "a")).mode & 0o777, 0o700);
  assert.equal(readFileSync(join(directory, "b"), "utf8"), "file now");
  assert.equal(readFileSync(join(directory, "c"), "utf8"), "no link");
  assert.equal(readFileSync(join(directory, "self"), "utf8"), "kept");
});

test("long names, of pax and of GNU, and attributes are read; what is longer than a path may be is refused", async () => {
  const long = `${"n".repeat(120)}/${"m".repeat(200)}`;
  const directory = await into(
    Buffer.concat([
      entryBytes({
        name: "short",
        data: "pax",
        pax: { path: `p${long}`, "SCHILY.xattr.user.mark": "there" },
      }),
      gnuLongName(`g${long}`),
      entryBytes({ name: "short", data: "gnu" }),
      Buffer.alloc(1024),
    ]),
  );
  assert.equal(readFileSync(join(directory, `p${long}`), "utf8"), "pax");
  assert.equal(readFileSync(join(directory, `g${long}`), "utf8"), "gnu");
  for (const path of ["x".repeat(300), `${"d/".repeat(3000)}f`]) {
    await assert.rejects(into(tar([{ name: "s", data: "", pax: { path } }])), /too long/);
  }
});

/** An owner of more than fits in octal digits, as GNU writes it. */
const binary = (value: bigint): Buffer => {
  const field = Buffer.alloc(8);
  field.writeBigInt64BE(value);
  field[0] = value < 0n ? 0xff : 0x80;
  return field;
};

test("owners are all that the kernel knows; of those that it does not, none is made another's", async () => {
  const high = 2 ** 32 - 2;
  const directory = await into(
    tar([
      { name: "octal", uid: 0o7777777, gid: 65_534 },
      { name: "pax", pax: { uid: String(2 ** 31), gid: String(high) } },
      { name: "gnu", owner: binary(BigInt(high)) },
      { name: "link", type: "2", link: "gnu", pax: { uid: String(high), gid: String(2 ** 31 + 1) } },
    ]),
  );
  const ownersOf = (name: string): number[] => {
    const { uid, gid } = lstatSync(join(directory, name));
    return [uid, gid];
  };
  assert.deepEqual(ownersOf("octal"), [0o7777777, 65_534]);
  assert.deepEqual(ownersOf("pax"), [2 ** 31, high]);
  assert.deepEqual(ownersOf("gnu"), [high, high]);
  assert.deepEqual(ownersOf("link"), [high, 2 ** 31 + 1]);
  for (const entry of [
    { pax: { uid: String(2 ** 32 - 1) } },
    { pax: { gid: String(2 ** 32) } },
    { pax: { uid: "99999999999999999999999" } },
    { pax: { gid: "-1" } },
    { owner: binary(-2n) },
    { owner: binary(2n ** 55n) },
  ])
    await assert.rejects(into(tar([{ name: "f", ...entry }])), /f in the layer has an owner that cannot be/);
});

test("sizes that are negative or huge are refused", async () => {
  const negative = Buffer.from("ffffffffffffffffffffff00", "hex");
  const huge = Buffer.from("800000000fffffffffffffff", "hex");
  for (const size of [negative, huge]) await assert.rejects(into(tar([{ name: "f", data: "x", size }])));
});

test("a layer that is cut off, or followed by rubbish, or no archive, is refused", async () => {
  const whole = gzip([{ name: "file", data: Buffer.alloc(100_000, "abc") }]);
  for (const length of [1, 9, 20, whole.length >> 1, whole.length - 4]) {
    await assert.rejects(into(whole.subarray(0, length)), `cut after ${length}`);
  }
  await assert.rejects(into(Buffer.from("this is no archive, whatever it is called".repeat(100))));
});

test("several gzip members are one layer", async () => {
  const whole = tar([{ name: "file", data: "x".repeat(5000) }]);
  const directory = await into(
    Buffer.concat([gzipSync(whole.subarray(0, 700)), gzipSync(whole.subarray(700))]),
  );
  assert.equal(readFileSync(join(directory, "file"), "utf8").length, 5000);
});

test("the digest is of all bytes of the archive, also of those behind its end", async () => {
  const padded = Buffer.concat([tar([{ name: "file", data: "x" }]), Buffer.alloc(300_000)]);
  const { digest, size } = await unpack(gzipSync(padded), [bindOf(fresh("root"))]);
  assert.equal(digest, `sha256:${createHash("sha256").update(padded).digest("hex")}`);
  assert.equal(size, padded.length);
});

test("an empty layer is one", async () => {
  assert.deepEqual(readdirSync(await into(tar([]))), []);
  assert.deepEqual(readdirSync(await into(gzipSync(tar([])))), []);
});

test("a layer packed by zstd is unpacked", async () => {
  const [before, after_] = [fresh("before"), fresh("after")];
  writeFileSync(join(after_, "file"), "packed ".repeat(10_000));
  const parts: Uint8Array[] = [];
  const program = new LayerProgram(PROGRAM, join(scratch, "scratch"));
  const made = await program.diff(
    [bindOf(before)],
    [bindOf(after_)],
    { compression: "zstd", latest: undefined },
    async (bytes) => void parts.push(Buffer.from(bytes)),
  );
  const directory = fresh("root");
  const { digest } = await unpack(Buffer.concat(parts), [bindOf(directory)]);
  assert.equal(digest, made.digest);
  assert.equal(readFileSync(join(directory, "file"), "utf8"), "packed ".repeat(10_000));
});

test("the program has let go of all privileges but those that files need before it reads a byte", async () => {
  const directory = fresh("root");
  const { base, args } = mountArguments([bindOf(directory)]);
  const target = fresh("target");
  const unpacker = spawn(PROGRAM, ["unpack", "1:1:1", target, base, ...args], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  try {
    const status = (): string => readFileSync(`/proc/${unpacker.pid}/status`, "utf8");
    const field = (name: string): string => new RegExp(`^${name}:\\s+(\\S+)`, "m").exec(status())?.[1] ?? "";
    // It waits for its input then.
    await eventually("the read", () => {
      const [call = ""] = readFileSync(`/proc/${unpacker.pid}/syscall`, "utf8").split(" ");
      return call === READ && readlinkSync(`/proc/${unpacker.pid}/root`) === target;
    });
    // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, MKNOD, SETFCAP.
    const kept = [0, 1, 3, 4, 27, 31].reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
    for (const name of ["CapEff", "CapPrm", "CapBnd"]) assert.equal(BigInt(`0x${field(name)}`), kept, name);
    assert.equal(BigInt(`0x${field("CapInh")}`), 0n);
    assert.equal(field("NoNewPrivs"), "1");
  } finally {
    unpacker.kill("SIGKILL");
    await once(unpacker, "close");
  }
});

/** Its number, as /proc has it. */
const READ = process.arch === "arm64" ? "63" : "0";

test("a million entries, a bomb and too many bytes are refused in bounds", async () => {
  const limits: UnpackLimits = { entries: 1000, bytes: 300 * 1024 ** 2, ratio: 500 };
  const many = Array.from({ length: 1001 }, (_, index): Entry => ({ name: `f${index}` }));
  await assert.rejects(into(tar(many), limits), /more than the 1000 entries/);
  const zeros = gzipSync(tar([{ name: "zeros", data: Buffer.alloc(200 * 1024 ** 2) }]), { level: 9 });
  await assert.rejects(into(zeros, limits), /more than 500 times its size/);
  await assert.rejects(
    into(zeros, { ...limits, ratio: 0, bytes: 10 * 1024 ** 2 }),
    /more than the 10485760 bytes/,
  );
});

test("attributes that only the kernel's overlay may set are refused", async () => {
  const pax = { "SCHILY.xattr.trusted.overlay.opaque": "y" };
  await assert.rejects(into(tar([{ name: "d/", type: "5", pax }])), /cannot (make|finish) d/);
});

test("a layer that cannot be mounted, or a program that is not there, is an error that says so, and leaves no directory", async () => {
  await assert.rejects(
    unpack(tar([]), [bindOf(join(scratch, "nowhere"))]),
    /mount bind .*nowhere: No such file/,
  );
  const absent = new LayerProgram(join(scratch, "no-program"), join(scratch, "scratch"));
  const file = join(scratch, "any");
  writeFileSync(file, tar([]));
  await assert.rejects(absent.unpack(file, []), /cannot run .*no-program/);
  assert.deepEqual(readdirSync(join(scratch, "scratch")), []);
});

test("a copy has what the tree has: owners, modes, hard links, links and holes", async () => {
  const from = await into(
    tar([
      { name: "d/", type: "5", mode: 0o2750, uid: 3, gid: 4 },
      { name: "d/f", data: "text", mode: 0o4711, uid: 5, gid: 6 },
      { name: "h", type: "1", link: "d/f" },
    ]),
  );
  symlinkSync("/nowhere", join(from, "l"));
  chmodSync(from, 0o711);
  const to = fresh("copy");
  await new LayerProgram(PROGRAM, join(scratch, "scratch")).copy(from, to);
  assert.deepEqual(readdirSync(to).sort(), ["d", "h", "l"]);
  const file = statSync(join(to, "d/f"));
  assert.deepEqual([file.mode & 0o7777, file.uid, file.gid, file.nlink], [0o4711, 5, 6, 2]);
  assert.equal(statSync(join(to, "h")).ino, file.ino);
  assert.equal(statSync(join(to, "d")).mode & 0o7777, 0o2750);
  assert.equal(statSync(to).mode & 0o777, 0o711);
  assert.equal(readlinkSync(join(to, "l")), "/nowhere");
});
