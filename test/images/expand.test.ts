// Archives that are packed as a whole: what comes out is what went in, in bounds, and no process is left.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { type ExpandLimits, expanded } from "../../src/images/expand.ts";
import { Cli } from "../cli/cli.ts";
import { Daemon } from "../harness/daemon.ts";
import { processesMentioning } from "../harness/processes.ts";
import { tar } from "./tar.ts";
import { skippable, zstd } from "./zstd.ts";

const PROGRAM = join(import.meta.dirname, "../../dist/holdfast-layer");
const place = mkdtempSync(join(tmpdir(), "holdfast-expand-"));
const scratch = join(place, "scratch");
after(() => rmSync(place, { recursive: true, force: true }));

async function* pieces(data: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function expand(data: Buffer, size = 64 * 1024, limits?: ExpandLimits): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  const expander = { program: PROGRAM, scratch, ...(limits !== undefined && { limits }) };
  for await (const chunk of expanded(expander, pieces(data, size))) parts.push(chunk);
  return Buffer.concat(parts);
}

const plain = tar([{ name: "file", data: randomBytes(300_000) }]);
const half = plain.length >> 1;
const PACKED: Readonly<Record<string, Buffer>> = {
  "not at all": plain,
  "by gzip": gzipSync(plain),
  "by gzip, in two members": Buffer.concat([
    gzipSync(plain.subarray(0, half)),
    gzipSync(plain.subarray(half)),
  ]),
  "by zstd": zstd(plain),
  "by zstd, in two frames": Buffer.concat([zstd(plain.subarray(0, half)), zstd(plain.subarray(half))]),
  "by zstd, after what is passed over": Buffer.concat([skippable(Buffer.from("note")), zstd(plain)]),
};

for (const [how, data] of Object.entries(PACKED)) {
  test(`an archive packed ${how} comes out as it was, in whatever pieces it comes`, async () => {
    assert.ok((await expand(data)).equals(plain));
    const first = Buffer.concat([data.subarray(0, 5000)]);
    const bytes = await expand(first, 1).catch(() => undefined);
    if (how === "not at all") assert.ok(bytes?.equals(first));
  });
}

test("what is shorter than any mark of a packer passes", async () => {
  for (const text of ["", "B", "ab"]) assert.equal((await expand(Buffer.from(text))).toString(), text);
});

test("a bomb, rubbish, and an archive that breaks off are errors", async () => {
  const bomb = gzipSync(Buffer.alloc(100 << 20));
  await assert.rejects(expand(bomb, 64 * 1024, { bytes: 0, ratio: 100 }), /more than 100 times/);
  await assert.rejects(expand(bomb, 64 * 1024, { bytes: 1 << 20, ratio: 0 }), /more than the 1048576 bytes/);
  const rubbish = Buffer.concat([zstd(plain).subarray(0, 4), randomBytes(1000)]);
  await assert.rejects(expand(rubbish), /cannot read the (layer|archive)|ended with/);
  await assert.rejects(expand(zstd(plain).subarray(0, half)), /cannot read the (layer|archive)/);
  await assert.rejects(expand(gzipSync(plain).subarray(0, half)), /cannot read the (layer|archive)/);
});

test("who reads no further leaves no process and no directory", async () => {
  for await (const chunk of expanded({ program: PROGRAM, scratch }, pieces(zstd(plain), 1000))) {
    assert.ok(chunk.length > 0);
    break;
  }
  assert.deepEqual(processesMentioning(scratch), []);
  assert.deepEqual(readdirSync(scratch), []);
});

test("an archive that fails while it is read ends with that error", async () => {
  async function* broken(): AsyncGenerator<Uint8Array> {
    yield zstd(plain).subarray(0, 10_000);
    throw new Error("the disk has gone");
  }
  const read = async (): Promise<void> => {
    for await (const chunk of expanded({ program: PROGRAM, scratch }, broken())) assert.ok(chunk.length > 0);
  };
  await assert.rejects(read(), /the disk has gone/);
  assert.deepEqual(processesMentioning(scratch), []);
});

test("load takes archives that are packed as a whole, and import layers packed by zstd", async () => {
  const daemon = await Daemon.start({ kind: "holdfastd" });
  const cli = new Cli(daemon);
  try {
    const layer = zstd(tar([{ name: "there", data: "there" }]));
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === "arm64" ? "arm64" : "amd64",
        os: "linux",
        config: { Cmd: ["/there"] },
        rootfs: { type: "layers", diff_ids: [digestOf(tar([{ name: "there", data: "there" }]))] },
      }),
    );
    const manifest = [{ Config: "config.json", RepoTags: ["zipped:1"], Layers: ["layer.tar"] }];
    const archive = tar([
      { name: "manifest.json", data: JSON.stringify(manifest) },
      { name: "config.json", data: config },
      { name: "layer.tar", data: layer },
    ]);
    for (const packed of [gzipSync(archive), zstd(archive)]) {
      assert.equal(await cli.do(["load"], { stdin: packed }), "docker.io/library/zipped:1\n");
      // Its layer is unpacked, though there is nothing to run in it.
      await cli.do(["create", "--name", "made", "zipped:1"]);
      await cli.do(["delete", "made"]);
      await cli.do(["rmi", "zipped:1"]);
    }
    await cli.do(["import", "-", "layer:1"], { stdin: layer });
    await cli.do(["create", "--name", "made", "layer:1", "/there"]);
    await cli.do(["delete", "made"]);
  } finally {
    cli.close();
    await daemon.close();
  }
});

const digestOf = (data: Buffer): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;
