// Archives of images, as clients hand them to the daemon: tar, gzip, manifest.json, index.json. The content that they are put into is in memory.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { WriteAction, type WriteContentRequest } from "../../../src/api/generated/content.ts";
import { OCI_MANIFEST } from "../../../src/registry/descriptor.ts";
import { importImages } from "../../../src/transfer/import.ts";
import type { ImageServices } from "../../../src/transfer/services.ts";
import { Code, TtrpcError } from "../../../src/ttrpc/status.ts";
import { type Entry, tar } from "../../images/tar.ts";
import type { ParserTarget } from "./target.ts";

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Only what an import asks for. */
function contentInMemory(): ImageServices {
  const blobs = new Map<string, Buffer>();
  const find = (digest: string): Buffer => {
    const found = blobs.get(digest);
    if (found === undefined) throw new TtrpcError(Code.NOT_FOUND, `${digest}: not found`);
    return found;
  };
  const services = {
    content: {
      info: async ({ digest }: { digest: string }) => ({
        info: { digest, size: BigInt(find(digest).length) },
      }),
      update: async ({ info }: { info: { digest: string } }) => ({ info: find(info.digest) && info }),
      async *read({ digest, size }: { digest: string; size: bigint }) {
        const bytes = find(digest);
        if (BigInt(bytes.length) < size) throw new TtrpcError(Code.OUT_OF_RANGE, "too short");
        yield { offset: 0n, data: size > 0n ? bytes.subarray(0, Number(size)) : bytes };
      },
      abort: async () => ({}),
    },
    images: { create: async () => ({}), update: async () => ({}) },
    writeContent() {
      const parts: Uint8Array[] = [];
      return {
        async send({ action, data, expected }: Partial<WriteContentRequest>) {
          if (data !== undefined) parts.push(data);
          if (action !== WriteAction.COMMIT) return {};
          const bytes = Buffer.concat(parts);
          if (expected && expected !== digestOf(bytes))
            throw new TtrpcError(Code.FAILED_PRECONDITION, "another digest");
          blobs.set(digestOf(bytes), bytes);
          return {};
        },
        end: () => {},
      };
    },
  };
  return services as unknown as ImageServices;
}

const BLOCK = 512;

/** A copy in which each header's checksum is right, so that what has been changed in it is looked at. */
function mended(archive: Uint8Array): Buffer {
  const copy = Buffer.from(archive);
  for (let at = 0; at + BLOCK <= copy.length; ) {
    const header = copy.subarray(at, at + BLOCK);
    at += BLOCK;
    if (header.every((byte) => byte === 0)) continue;
    header.fill(" ", 148, 156);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0`, 148, "latin1");
    const size = Number.parseInt(header.toString("latin1", 124, 136), 8);
    if (size > 0 && size < copy.length) at += Math.ceil(size / BLOCK) * BLOCK;
  }
  return copy;
}

const CONFIG = Buffer.from('{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}');
const LAYER = tar([{ name: "x", data: "y" }]);

function ociLayout(): Entry[] {
  const blob = (bytes: Buffer): Entry => ({ name: `blobs/sha256/${digestOf(bytes).slice(7)}`, data: bytes });
  const named = (mediaType: string, bytes: Buffer): object => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      config: named("application/vnd.oci.image.config.v1+json", CONFIG),
      layers: [named("x/layer", LAYER)],
    }),
  );
  const index = {
    schemaVersion: 2,
    manifests: [
      { ...named(OCI_MANIFEST, manifest), annotations: { "org.opencontainers.image.ref.name": "a" } },
    ],
  };
  return [
    blob(CONFIG),
    blob(LAYER),
    blob(manifest),
    { name: "oci-layout", data: '{"imageLayoutVersion":"1.0.0"}' },
    { name: "index.json", data: JSON.stringify(index) },
  ];
}

function dockerArchive(): Entry[] {
  const list = [{ Config: "c.json", RepoTags: ["a:b"], Layers: ["l/layer.tar", "m/layer.tar"] }];
  return [
    { name: "c.json", data: CONFIG },
    { name: "l/layer.tar", data: LAYER },
    { name: "m/layer.tar", type: "2", link: "../l/layer.tar" },
    { name: "manifest.json", data: JSON.stringify(list) },
  ];
}

const archives: ParserTarget = {
  name: "archives",
  what: "archives of docker save and OCI layouts: imported, or refused as what is no image",
  words: [
    "manifest.json",
    "index.json",
    "oci-layout",
    "blobs/sha256/",
    '"Layers":[',
    '"RepoTags":null',
    '"Config":',
    "../",
    "x\0\0\0",
    "\x1f\x8b\x08",
  ],
  seeds: () => [
    tar(ociLayout()),
    tar(dockerArchive()),
    gzipSync(tar(dockerArchive())),
    tar([{ name: "manifest.json", data: "[null]" }]),
  ],
  async run(given) {
    // Two of them are left as they are: what is packed, and what has an odd length.
    const input = given[0] === 0x1f || given.length % 2 === 1 ? given : mended(given);
    const rules = [
      { name: "i", isPrefix: true, allowOverwrite: true, addDigest: true, skipNamedDigest: false },
    ];
    const context = {
      services: contentInMemory(),
      scope: "s",
      report: () => {},
      signal: new AbortController().signal,
      expanded: (archive: AsyncIterable<Uint8Array>) => archive,
    };
    const request = { indexName: "whole", rules, labels: {}, platforms: [], unpacks: [], compress: false };
    // In two pieces, as a stream may come.
    const pieces = async function* (): AsyncGenerator<Uint8Array> {
      yield input.subarray(0, input.length >> 1);
      yield input.subarray(input.length >> 1);
    };
    await importImages(context, pieces(), request).catch((error: unknown) => {
      assert.ok(error instanceof TtrpcError, error as Error);
    });
  },
};

export const archiveTargets: readonly ParserTarget[] = [archives];
