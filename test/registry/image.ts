// Images made by the tests, and brought into a registry without our own client.
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync, gzipSync } from "node:zlib";
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  OCI_INDEX,
  OCI_MANIFEST,
  type Platform,
} from "../../src/registry/descriptor.ts";
import { tar } from "../images/tar.ts";
import { PASSWORD, USER } from "./docker-registry.ts";

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly bytes: Buffer;
}

export interface TestImage {
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly Blob[];
  readonly platform: Platform;
}

export interface ImageOptions {
  /** Bytes of each layer, beside the first, which has busybox. Not to be packed: chance. */
  readonly layers?: readonly number[];
  readonly platform?: Platform;
  readonly format?: "oci" | "docker";
  /** What it runs. */
  readonly command?: readonly string[];
}

const HOST: Platform = { os: "linux", architecture: process.arch === "arm64" ? "arm64" : "amd64" };

export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

export function blob(mediaType: string, bytes: Buffer): Blob {
  return { mediaType, digest: digestOf(bytes), size: bytes.length, bytes };
}

const json = (mediaType: string, value: unknown): Blob => blob(mediaType, Buffer.from(JSON.stringify(value)));
const described = ({ mediaType, digest, size }: Blob): object => ({ mediaType, digest, size });

/** The static shell with a few names of it. */
function busyboxLayer(): Buffer {
  const links = ["sh", "echo", "cat", "true", "ls", "sleep"].map((name) => ({
    name: `bin/${name}`,
    type: "2",
    link: "busybox",
  }));
  return tar([
    { name: "bin", type: "5" },
    { name: "bin/busybox", data: readFileSync("/bin/busybox"), mode: 0o755 },
    ...links,
    { name: "tmp", type: "5", mode: 0o1777 },
  ]);
}

export function makeImage(options: ImageOptions = {}): TestImage {
  const { layers: sizes = [1000], platform = HOST, format = "oci", command = ["echo", "pulled"] } = options;
  const isOci = format === "oci";
  const type = isOci
    ? "application/vnd.oci.image.layer.v1.tar+gzip"
    : "application/vnd.docker.image.rootfs.diff.tar.gzip";
  const archives = [
    busyboxLayer(),
    ...sizes.map((size, index) => tar([{ name: `layer-${index + 1}`, data: randomBytes(size) }])),
  ];
  const layers = archives.map((archive) => blob(type, gzipSync(archive, { level: 1 })));
  const config = json(
    isOci ? "application/vnd.oci.image.config.v1+json" : "application/vnd.docker.container.image.v1+json",
    {
      ...platform,
      config: { Env: ["PATH=/bin"], Cmd: command },
      rootfs: { type: "layers", diff_ids: layers.map((layer) => digestOf(gunzipSync(layer.bytes))) },
    },
  );
  const manifestType = isOci ? OCI_MANIFEST : DOCKER_MANIFEST;
  const manifest = json(manifestType, {
    schemaVersion: 2,
    mediaType: manifestType,
    config: described(config),
    layers: layers.map(described),
  });
  return { manifest, config, layers, platform };
}

export function makeIndex(images: readonly TestImage[], format: "oci" | "docker" = "oci"): Blob {
  const mediaType = format === "oci" ? OCI_INDEX : DOCKER_LIST;
  return json(mediaType, {
    schemaVersion: 2,
    mediaType,
    manifests: images.map(({ manifest, platform }) => ({ ...described(manifest), platform })),
  });
}

/** What holds a registry's content. */
export interface Target {
  readonly url: string;
}

const AUTHORIZATION = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString("base64")}`;

async function call(url: URL | string, method: string, body?: Buffer, type?: string): Promise<Response> {
  const headers = { authorization: AUTHORIZATION, "content-type": type ?? "application/octet-stream" };
  const answer = await fetch(url, {
    method,
    headers,
    ...(body !== undefined && { body: new Uint8Array(body) }),
  });
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`);
  return answer;
}

export async function putBlob({ url }: Target, repository: string, { digest, bytes }: Blob): Promise<void> {
  const { headers } = await call(`${url}/v2/${repository}/blobs/uploads/`, "POST");
  const place = new URL(headers.get("location") ?? "", url);
  place.searchParams.set("digest", digest);
  await call(place, "PUT", bytes);
}

export async function putManifest(
  { url }: Target,
  repository: string,
  name: string,
  manifest: Blob,
): Promise<void> {
  await call(`${url}/v2/${repository}/manifests/${name}`, "PUT", manifest.bytes, manifest.mediaType);
}

/** The whole image, under `name` or its digest alone. */
export async function putImage(
  target: Target,
  repository: string,
  name: string,
  image: TestImage,
): Promise<void> {
  for (const each of [image.config, ...image.layers]) await putBlob(target, repository, each);
  await putManifest(target, repository, name, image.manifest);
}
