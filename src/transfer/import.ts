// Images from an archive, an OCI layout or what docker save writes, into the daemon: read once from front to back, as it comes over a stream.
import { Readable } from "node:stream";
import { createGzip } from "node:zlib";
import { extract } from "tar-stream";
import { PACKING_BYTES, packingOf } from "../api/packing.ts";
import {
  type Descriptor,
  DOCKER_MANIFEST,
  isIndex,
  isManifestType,
  MAX_MANIFEST,
  OCI_INDEX,
  type Platform,
  parseManifest,
} from "../registry/descriptor.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import {
  type ArchiveLink,
  addLinked,
  archivePath,
  MAX_JSON,
  NAME_ANNOTATION,
  type NameRule,
  namesFor,
  REF_ANNOTATION,
  wholeName,
} from "./archive.ts";
import { bestMatch, isSame } from "./platforms.ts";
import { Progresses, type Report } from "./progress.ts";
import { indexLabels, manifestLabels, nameImage } from "./pull.ts";
import { type ImageServices, labelContent, orNone, readContent } from "./services.ts";
import { unpackLayers } from "./unpack.ts";
import { writeBlob, writeBytes } from "./write.ts";

const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
/** These alone are read into memory. */
const TEXTS: readonly string[] = ["oci-layout", "index.json", "manifest.json"];

export interface ImportRequest {
  /** Of the archive's index as a whole; "" for none. */
  readonly indexName: string;
  readonly rules: readonly NameRule[];
  readonly labels: Readonly<Record<string, string>>;
  /** Empty for all. */
  readonly platforms: readonly Platform[];
  readonly unpacks: readonly { readonly platform: Platform | undefined; readonly snapshotter: string }[];
  /** Packs layers that docker save has left as they are. */
  readonly compress: boolean;
}

export interface ImportContext {
  readonly services: ImageServices;
  readonly scope: string;
  readonly report: Report;
  readonly signal: AbortSignal;
  /** The archive as it is when it is not packed as a whole. */
  readonly expanded: (archive: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
}

/** Rejects with INVALID_ARGUMENT for what is no such archive. */
export async function importImages(
  context: ImportContext,
  archive: AsyncIterable<Uint8Array>,
  request: ImportRequest,
): Promise<void> {
  const { services, report } = context;
  const progresses = new Progresses(report, request.indexName, "importing");
  progresses.say("Importing");
  const files = await readArchive(services, context.expanded(archive));
  const manifests = files.texts.has("oci-layout")
    ? await ociManifests(files)
    : await dockerManifests(services, files, request.compress);
  const taken: Descriptor[] = [];
  for (const each of manifests)
    if (await new Import(context, request, progresses).take(each)) taken.push(each);
  let saved = 0;
  const save = async (name: string, descriptor: Descriptor): Promise<void> => {
    await nameImage(services, name, descriptor, request.labels);
    progresses.say("saved", name, descriptor);
    saved++;
  };
  for (const each of taken) for (const name of namesFor(each, request.rules)) await save(name, each);
  if (request.indexName !== "") await save(request.indexName, await writeIndex(services, taken));
  if (saved === 0) throw new TtrpcError(Code.NOT_FOUND, "no image of the archive has a name: not found");
  progresses.say("Completed import");
}

interface ArchiveFiles {
  readonly texts: ReadonlyMap<string, Buffer>;
  /** Digests and sizes of what went into the content. */
  readonly blobs: ReadonlyMap<string, { readonly digest: string; readonly size: number }>;
}

async function readArchive(
  services: ImageServices,
  archive: AsyncIterable<Uint8Array>,
): Promise<ArchiveFiles> {
  const texts = new Map<string, Buffer>();
  const blobs = new Map<string, { digest: string; size: number }>();
  const links = new Map<string, ArchiveLink>();
  const unpacked = extract();
  const input = Readable.from(archive, { objectMode: false });
  input.once("error", (error) => unpacked.destroy(error));
  try {
    for await (const entry of input.pipe(unpacked)) {
      const { type, name, linkname } = entry.header;
      const bytes = entry as AsyncIterable<unknown> as AsyncIterable<Uint8Array>;
      const path = archivePath(name);
      if (type === "symlink" || type === "link") links.set(path, { type, target: linkname ?? "" });
      if (type === "file" && TEXTS.includes(path)) texts.set(path, await readText(path, bytes));
      else if (type === "file") {
        const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
        blobs.set(path, await writeBlob(services, bytes, hex === undefined ? "" : `sha256:${hex}`));
      }
      entry.resume();
    }
  } catch (error) {
    if (error instanceof TtrpcError) throw error;
    throw invalid(`the archive: ${(error as Error).message}`);
  } finally {
    input.destroy();
  }
  addLinked(blobs, links);
  return { texts, blobs };
}

async function readText(path: string, source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source) {
    size += chunk.length;
    if (size > MAX_JSON) throw invalid(`${path}: more than ${MAX_JSON} bytes`);
    parts.push(chunk);
  }
  return Buffer.concat(parts);
}

async function ociManifests({ texts }: ArchiveFiles): Promise<readonly Descriptor[]> {
  const index = texts.get("index.json");
  if (index === undefined) throw invalid("the archive has no index.json");
  return parseManifest({ mediaType: OCI_INDEX, digest: "index.json", size: index.length }, index).children;
}

async function dockerManifests(
  services: ImageServices,
  { texts, blobs }: ArchiveFiles,
  compress: boolean,
): Promise<readonly Descriptor[]> {
  const text = texts.get("manifest.json");
  if (text === undefined)
    throw invalid("the archive has neither oci-layout nor manifest.json: it is no image");
  const listed = parseJson("manifest.json", text);
  if (!Array.isArray(listed)) throw invalid("manifest.json: no list");
  const file = (path: unknown): { digest: string; size: number } => {
    const found = blobs.get(archivePath(String(path)));
    if (found === undefined) throw invalid(`manifest.json names ${String(path)}, which is not there`);
    return found;
  };
  const found: Descriptor[] = [];
  for (const each of listed as ({ Config?: unknown; RepoTags?: unknown; Layers?: unknown } | null)[]) {
    const config = { mediaType: DOCKER_CONFIG, ...file(each?.Config) };
    const layers: Descriptor[] = [];
    for (const path of listOf(each?.Layers)) layers.push(await dockerLayer(services, file(path), compress));
    const manifest = { schemaVersion: 2, mediaType: DOCKER_MANIFEST, config, layers };
    const written = await writeBytes(services, Buffer.from(JSON.stringify(manifest)));
    const descriptor = { mediaType: DOCKER_MANIFEST, ...written };
    const tags = listOf(each?.RepoTags).map((tag) => wholeName(String(tag)));
    if (tags.length === 0) found.push(descriptor);
    for (const name of tags) {
      const tag = name.slice(name.lastIndexOf(":") + 1);
      found.push({ ...descriptor, annotations: { [NAME_ANNOTATION]: name, [REF_ANNOTATION]: tag } });
    }
  }
  return found;
}

async function dockerLayer(
  services: ImageServices,
  { digest, size }: { digest: string; size: number },
  compress: boolean,
): Promise<Descriptor> {
  let start = Buffer.alloc(0);
  const request = { digest, offset: 0n, size: BigInt(PACKING_BYTES) };
  for await (const { data } of services.content.read(request)) start = Buffer.concat([start, data]);
  const packing = packingOf(start);
  if (packing !== "none") return { mediaType: `${DOCKER_LAYER}.${packing}`, digest, size };
  if (!compress) return { mediaType: DOCKER_LAYER, digest, size };
  const content = async function* (): AsyncGenerator<Uint8Array> {
    for await (const { data } of services.content.read({ digest, offset: 0n, size: 0n })) yield data;
  };
  const packed = Readable.from(content(), { objectMode: false }).pipe(createGzip());
  return { mediaType: `${DOCKER_LAYER}.gzip`, ...(await writeBlob(services, packed)) };
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function parseJson(what: string, bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch (error) {
    throw invalid(`${what}: ${(error as Error).message}`);
  }
}

/** So that one name keeps all. */
async function writeIndex(services: ImageServices, manifests: readonly Descriptor[]): Promise<Descriptor> {
  const index = { schemaVersion: 2, mediaType: OCI_INDEX, manifests };
  const written = await writeBytes(services, Buffer.from(JSON.stringify(index)));
  await labelContent(services, written.digest, indexLabels(manifests));
  return { mediaType: OCI_INDEX, ...written };
}

function invalid(text: string): TtrpcError {
  return new TtrpcError(Code.INVALID_ARGUMENT, `${text}: invalid argument`);
}

/** One of the archive's images: its labels, and its layers unpacked. */
class Import {
  readonly #context: ImportContext;
  readonly #request: ImportRequest;
  readonly #progresses: Progresses;

  constructor(context: ImportContext, request: ImportRequest, progresses: Progresses) {
    this.#context = context;
    this.#request = request;
    this.#progresses = progresses;
  }

  /** false if it is not wanted, or not there. Rejects with NOT_FOUND for one of which a part is not there. */
  async take(descriptor: Descriptor): Promise<boolean> {
    const { platforms } = this.#request;
    const { platform } = descriptor;
    if (platform !== undefined && platforms.length > 0 && !platforms.some((each) => isSame(platform, each)))
      return false;
    if (!isManifestType(descriptor.mediaType)) return false;
    const { services } = this.#context;
    const bytes = await orNone(readContent(services, descriptor.digest, MAX_MANIFEST));
    if (bytes === undefined) return false;
    const { config, children } = parseManifest(descriptor, bytes);
    if (isIndex(descriptor.mediaType) || config === undefined) {
      // What an index names need not all be there: an image for one platform is often saved with the index of all.
      let there = 0;
      for (const child of children) if (await this.take(child)) there++;
      await labelContent(services, descriptor.digest, indexLabels(children));
      return there > 0;
    }
    for (const { digest } of [config, ...children]) await services.content.info({ digest });
    await labelContent(services, descriptor.digest, manifestLabels(config, children));
    await this.#unpack(platform, config, children);
    return true;
  }

  async #unpack(
    platform: Platform | undefined,
    config: Descriptor,
    layers: readonly Descriptor[],
  ): Promise<void> {
    const { services, scope, signal } = this.#context;
    for (const { platform: wanted, snapshotter } of this.#request.unpacks) {
      if (platform !== undefined && wanted !== undefined && bestMatch(wanted, [{ platform }]) === undefined)
        continue;
      await unpackLayers({
        services,
        scope,
        snapshotter,
        config,
        layers,
        fetched: async () => {},
        progresses: this.#progresses,
        signal,
      });
    }
  }
}
