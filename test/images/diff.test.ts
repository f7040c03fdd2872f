// Layers made of two trees by the real program, unpacked again onto the first: what comes out must be the second.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  cpSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { extract } from "tar-stream";
import { type DiffOptions, LayerProgram } from "../../src/images/layer-program.ts";
import type { SnapshotMount } from "../../src/images/mount.ts";
import { check } from "../harness/command.ts";

const PROGRAM = join(import.meta.dirname, "../../dist/holdfast-layer");
const scratch = mkdtempSync(join(tmpdir(), "holdfast-diff-"));
after(() => rmSync(scratch, { recursive: true, force: true }));
const program = new LayerProgram(PROGRAM, join(scratch, "mounts"));
let count = 0;
const fresh = (): string => {
  const path = join(scratch, String(count++));
  mkdirSync(path);
  return path;
};
const bind = (source: string): SnapshotMount[] => [
  { type: "bind", source, target: "", options: ["rw", "rbind"] },
];

async function diff(left: string, right: string, options: Partial<DiffOptions> = {}) {
  const parts: Uint8Array[] = [];
  const made = await program.diff(
    bind(left),
    bind(right),
    { compression: "none", latest: undefined, ...options },
    async (bytes) => void parts.push(bytes),
  );
  return { ...made, layer: Buffer.concat(parts) };
}

async function entries(
  layer: Buffer,
): Promise<{ name: string; type: string; link: string; mtime: number }[]> {
  const found: { name: string; type: string; link: string; mtime: number }[] = [];
  const archive = extract();
  archive.end(layer);
  for await (const entry of archive) {
    const { name, type, linkname, mtime } = entry.header;
    found.push({ name, type: type ?? "", link: linkname ?? "", mtime: (mtime?.getTime() ?? 0) / 1000 });
    entry.resume();
  }
  return found;
}

const names = async (layer: Buffer): Promise<string[]> =>
  (await entries(layer)).map(({ name }) => name.replace(/\/$/, ""));

/** Two trees that are the same, the second with `change` made to it. */
function trees(
  make: (root: string) => void,
  change: (root: string) => void,
): { left: string; right: string } {
  const [left, right] = [fresh(), fresh()];
  make(left);
  cpSync(left, right, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  change(right);
  return { left, right };
}

/** All there is to see of a tree. */
function listing(root: string, path = ""): unknown[] {
  return readdirSync(join(root, path))
    .sort()
    .flatMap((name) => {
      const below = join(path, name);
      const stat = lstatSync(join(root, below));
      const { mode, uid, gid, rdev, nlink } = stat;
      const what = stat.isFile()
        ? createHash("sha256")
            .update(readFileSync(join(root, below)))
            .digest("hex")
        : stat.isSymbolicLink()
          ? readlinkSync(join(root, below))
          : "";
      const one = [below, mode, uid, gid, rdev, stat.isDirectory() ? 0 : nlink, what];
      return stat.isDirectory() ? [one, ...listing(root, below)] : [one];
    });
}

const base = (root: string): void => {
  for (const directory of ["d/e", "gone", "same"]) mkdirSync(join(root, directory), { recursive: true });
  for (const file of ["d/changed", "d/e/deep", "gone/x", "same/kept", "plain", "mode"])
    writeFileSync(join(root, file), `of ${file}`);
  symlinkSync("/somewhere", join(root, "link"));
};

test("what is new, changed or gone is in the layer, and nothing else; unpacked again it makes the one of the other", async () => {
  const { left, right } = trees(base, (root) => {
    writeFileSync(join(root, "d/changed"), "OF d/changed");
    rmSync(join(root, "gone"), { recursive: true });
    rmSync(join(root, "plain"));
    mkdirSync(join(root, "plain/now"), { recursive: true });
    chmodSync(join(root, "mode"), 0o4711);
    chownSync(join(root, "d/e/deep"), 7, 8);
    rmSync(join(root, "link"));
    symlinkSync("/elsewhere", join(root, "link"));
    writeFileSync(join(root, "ü\u{1f600}"), "not ASCII");
    writeFileSync(join(root, `${"long/".repeat(1)}`.replace("/", "n".repeat(150))), "long");
  });
  await check(["mknod", join(right, "device"), "c", "1", "3"]);
  await check(["mkfifo", join(right, "fifo")]);
  const { layer, digest, size } = await diff(left, right);
  assert.equal(digest, `sha256:${createHash("sha256").update(layer).digest("hex")}`);
  assert.equal(size, layer.length);
  assert.deepEqual(await names(layer), [
    "d",
    "d/changed",
    "d/e",
    "d/e/deep",
    "device",
    "fifo",
    ".wh.gone",
    "link",
    `long${"n".repeat(150)}`,
    "mode",
    "plain",
    "plain/now",
    "ü\u{1f600}",
  ]);
  const file = join(scratch, "again.tar");
  writeFileSync(file, layer);
  await program.unpack(file, bind(left));
  assert.deepEqual(listing(left), listing(right));
});

test("trees that are the same make an empty layer; the same change makes the same bytes, packed too", async () => {
  const { left, right } = trees(base, () => {});
  assert.deepEqual(await names((await diff(left, right)).layer), []);
  writeFileSync(join(right, "new"), "x".repeat(100_000));
  const [first, second] = [
    await diff(left, right, { compression: "gzip" }),
    await diff(left, right, { compression: "gzip" }),
  ];
  assert.ok(first.layer.equals(second.layer));
  const plain = await diff(left, right);
  assert.ok(gunzipSync(first.layer).equals(plain.layer));
  assert.equal(first.digest, plain.digest);
  const zstd = await diff(left, right, { compression: "zstd" });
  assert.equal(zstd.layer.readUInt32LE(0), 0xfd2fb528);
  assert.equal(zstd.digest, plain.digest);
});

test("a change within the same second, of the same size, is seen", async () => {
  const { left, right } = trees(
    (root) => writeFileSync(join(root, "f"), "one"),
    (root) => writeFileSync(join(root, "f"), "two"),
  );
  for (const root of [left, right]) utimesSync(join(root, "f"), 1000, 1000);
  assert.deepEqual(await names((await diff(left, right)).layer), ["f"]);
});

test("names of one file stay names of one file, also those that it had before", async () => {
  const [left, right] = [fresh(), fresh()];
  for (const root of [left, right]) {
    for (const name of ["b", "m"]) {
      writeFileSync(join(root, name), "text");
      utimesSync(join(root, name), 1000, 1000);
    }
  }
  // The new name comes after the old one.
  linkSync(join(right, "m"), join(right, "n"));
  for (const name of ["a", "c"]) linkSync(join(right, "b"), join(right, name));
  writeFileSync(join(right, "x"), "x");
  linkSync(join(right, "x"), join(right, "y"));
  const { layer } = await diff(left, right);
  const file = join(scratch, "links.tar");
  writeFileSync(file, layer);
  await program.unpack(file, bind(left));
  const inode = (name: string): number => statSync(join(left, name)).ino;
  assert.deepEqual([inode("a"), inode("c")], [inode("b"), inode("b")]);
  assert.equal(inode("x"), inode("y"));
  assert.equal(inode("m"), inode("n"));
  assert.equal(statSync(join(left, "b")).nlink, 3);
});

test("holes stay holes, and file capabilities and attributes of users are kept; those of this host's overlay are not", async () => {
  const [left, right] = [fresh(), fresh()];
  writeFileSync(join(right, "sparse"), "start");
  truncateSync(join(right, "sparse"), 50_000_000);
  writeFileSync(join(right, "file"), "x");
  const set = (name: string, value: string) =>
    `os.setxattr(${JSON.stringify(join(right, "file"))}, "${name}", bytes.fromhex("${value}"))`;
  const capability = "0100000200200000000000000000000000000000";
  const code = [
    "import os",
    set("security.capability", capability),
    set("user.mark", "ff00"),
    set("trusted.other", "79"),
    set("user.overlay.opaque", "79"),
  ];
  await check(["python3", "-c", code.join("\n")]);
  const { layer } = await diff(left, right);
  assert.ok(layer.length < 100_000, `${layer.length} bytes`);
  for (const other of ["trusted.other", "user.overlay"]) assert.ok(!layer.includes(other), other);
  const file = join(scratch, "attributes.tar");
  writeFileSync(file, layer);
  await program.unpack(file, bind(left));
  assert.ok(readFileSync(join(left, "sparse")).equals(readFileSync(join(right, "sparse"))));
  assert.ok(statSync(join(left, "sparse")).blocks < 1000);
  const look =
    'import os,sys; f=sys.argv[1]; print({n: os.getxattr(f,n).hex() for n in sorted(os.listxattr(f)) if n[:8] != "security" or "cap" in n})';
  assert.equal(
    (await check(["python3", "-c", look, join(left, "file")])).trim(),
    `{'security.capability': '${capability}', 'user.mark': 'ff00'}`,
  );
  // A change of an attribute alone is one.
  await check(["python3", "-c", `import os\n${set("user.mark", "01").replace(right, left)}`]);
  assert.deepEqual(await names((await diff(left, right)).layer), ["file"]);
});

test("no entry is later than the latest time that is asked for", async () => {
  const { left, right } = trees(base, (root) => writeFileSync(join(root, "d/new"), ""));
  const { layer } = await diff(left, right, { latest: 12_345 });
  assert.deepEqual(
    (await entries(layer)).map(({ mtime }) => mtime),
    [12_345, 12_345],
  );
});

test("a file that is called like a whiteout is refused, and leaves no mount point", async () => {
  const { left, right } = trees(base, (root) => writeFileSync(join(root, "d/.wh.changed"), ""));
  await assert.rejects(diff(left, right), /d\/\.wh\.changed: a layer cannot have a file of such a name/);
  assert.deepEqual(readdirSync(join(scratch, "mounts")), []);
});

test("who does not want the layer any more ends it", async () => {
  const { left, right } = trees(base, (root) => writeFileSync(join(root, "large"), Buffer.alloc(20_000_000)));
  const refuse = program.diff(
    bind(left),
    bind(right),
    { compression: "none", latest: undefined },
    async () => {
      throw new Error("the disk is full");
    },
  );
  await assert.rejects(refuse, /the disk is full/);
  assert.deepEqual(readdirSync(join(scratch, "mounts")), []);
});

test("directories below each other, more than a path may be long, are refused", async () => {
  const [left, right] = [fresh(), fresh()];
  const nest = 'import os,sys\nos.chdir(sys.argv[1])\nfor _ in range(3000): os.mkdir("dd"); os.chdir("dd")';
  await check(["python3", "-c", nest, right]);
  await assert.rejects(diff(left, right), /too (long|many)/);
  await check(["rm", "-rf", join(right, "dd")]);
});
