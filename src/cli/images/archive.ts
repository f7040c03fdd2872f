// Images from a tar archive: what `docker save` writes (manifest.json), or an OCI layout (index.json). Read once, from front to back, so that it may come
// by a pipe; whatever is larger than JSON goes straight to the daemon.
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { extract, type Header } from "tar-stream";
import type { Packing } from "../../api/packing.ts";
import { expanded } from "../../images/expand.ts";
import { layerProgramPath } from "../../images/layer-process.ts";
import { type ArchiveLink, addLinked, archivePath } from "../../transfer/archive.ts";
import { Problem } from "../text/problem.ts";
import {
  childLabels,
  type Descriptor,
  DOCKER_CONFIG,
  DOCKER_LAYER,
  DOCKER_LAYER_GZIP,
  DOCKER_MANIFEST,
  isIndex,
  isManifest,
  parseIndex,
  parseManifest,
} from "./manifest.ts";
import { packedSource } from "./packed-source.ts";
import { fullName } from "./reference.ts";
import type { ImageStore } from "./store.ts";

/** Files of up to this many bytes are kept in memory too: manifests, indexes, configurations. */
const MAX_KEPT = 1024 * 1024;
const DOCKER_LAYERS = { none: DOCKER_LAYER, gzip: DOCKER_LAYER_GZIP, zstd: `${DOCKER_LAYER}.zstd` } as const;

interface Loaded {
  readonly digest: string;
  readonly size: number;
  readonly packing: Packing;
  /** Of a small file. */
  readonly bytes: Buffer | undefined;
}

/** Loads every image of the archive, and returns their names. Throws a Problem for what is no such archive. */
export async function loadArchive(
  store: ImageStore,
  input: Readable,
  fallback: string | undefined,
): Promise<string[]> {
  const files = await readFiles(store, input);
  const names = new Set<string>();
  if (files.has("manifest.json")) for (const name of await dockerImages(store, files)) names.add(name);
  else if (files.has("index.json"))
    for (const name of await ociImages(store, files, fallback)) names.add(name);
  else throw new Problem("the archive has neither manifest.json nor index.json: it is no image");
  if (names.size === 0) throw new Problem("the archive has no image with a name: give one with --name");
  return [...names];
}

async function readFiles(store: ImageStore, input: Readable): Promise<Map<string, Loaded>> {
  const files = new Map<string, Loaded>();
  const links = new Map<string, ArchiveLink>();
  const unpacked = extract();
  const plain = Readable.from(withExpander(input), { objectMode: false });
  plain.once("error", (error) => unpacked.destroy(error));
  for await (const entry of plain.pipe(unpacked)) {
    const { type, name, linkname } = entry.header;
    const path = archivePath(name);
    if (type === "file") files.set(path, await readFile(store, path, entry));
    else if (type === "symlink" || type === "link") links.set(path, { type, target: linkname ?? "" });
    entry.resume();
  }
  addLinked(files, links);
  return files;
}

/** The archive, unpacked if it is packed as a whole. */
async function* withExpander(archive: Readable): AsyncGenerator<Uint8Array> {
  const scratch = mkdtempSync(join(tmpdir(), "holdfast-load-"));
  try {
    yield* expanded({ program: layerProgramPath(), scratch }, archive);
  } finally {
    rmdirSync(scratch);
  }
}

async function readFile(
  store: ImageStore,
  path: string,
  entry: AsyncIterable<unknown> & { readonly header: Header },
): Promise<Loaded> {
  const kept: Uint8Array[] = [];
  const isSmall = (entry.header.size ?? 0) <= MAX_KEPT;
  const { chunks, packing } = packedSource(entry as AsyncIterable<Buffer>);
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunks) {
      if (isSmall) kept.push(chunk);
      yield chunk;
    }
  };
  // Not said before what it must be: all of it has to be read in any case.
  const { digest, size } = await store.write(source());
  const hex = /^blobs\/sha256\/(.*)$/.exec(path)?.[1];
  if (hex !== undefined && digest !== `sha256:${hex}`)
    throw new Problem(`${path} in the archive: its digest is ${digest}`);
  return { digest, size, packing: packing(), bytes: isSmall ? Buffer.concat(kept) : undefined };
}

function json(files: ReadonlyMap<string, Loaded>, path: string): unknown {
  const bytes = files.get(path)?.bytes;
  if (bytes === undefined) throw new Problem(`the archive has no ${path}, or one that is too large`);
  try {
    return JSON.parse(bytes.toString());
  } catch (error) {
    throw new Problem(`${path} in the archive: ${(error as Error).message}`);
  }
}

async function dockerImages(store: ImageStore, files: ReadonlyMap<string, Loaded>): Promise<string[]> {
  const found = json(files, "manifest.json");
  if (!Array.isArray(found)) throw new Problem("manifest.json in the archive: not a list");
  const names: string[] = [];
  for (const each of found as { Config?: unknown; RepoTags?: unknown; Layers?: unknown }[]) {
    const file = (path: unknown): Loaded => {
      const loaded = files.get(archivePath(String(path)));
      if (loaded === undefined)
        throw new Problem(`manifest.json in the archive names ${path}, which is not there`);
      return loaded;
    };
    const { digest, size } = file(each.Config);
    const config: Descriptor = { mediaType: DOCKER_CONFIG, digest, size };
    const layers = (Array.isArray(each.Layers) ? each.Layers : []).map((path): Descriptor => {
      const layer = file(path);
      const mediaType = DOCKER_LAYERS[layer.packing];
      return { mediaType, digest: layer.digest, size: layer.size };
    });
    const manifest = { schemaVersion: 2, mediaType: DOCKER_MANIFEST, config, layers };
    const written = await store.writeJson(manifest, childLabels([config, ...layers]));
    for (const tag of Array.isArray(each.RepoTags) ? each.RepoTags : []) {
      const name = fullName(String(tag));
      await store.name(name, { mediaType: DOCKER_MANIFEST, ...written });
      names.push(name);
    }
  }
  return names;
}

async function ociImages(
  store: ImageStore,
  files: ReadonlyMap<string, Loaded>,
  fallback: string | undefined,
): Promise<string[]> {
  const names: string[] = [];
  for (const descriptor of parseIndex("index.json in the archive", json(files, "index.json"))) {
    await labelChildren(store, files, descriptor);
    const { "io.containerd.image.name": whole, "org.opencontainers.image.ref.name": tag } =
      descriptor.annotations ?? {};
    const named = whole ?? (tag?.includes("/") === true ? tag : undefined);
    const base =
      fallback === undefined
        ? undefined
        : `${fallback}${tag === undefined || fallback.includes(":") ? "" : `:${tag}`}`;
    const text = named ?? base;
    if (text === undefined) continue;
    const name = fullName(text);
    await store.name(name, descriptor);
    names.push(name);
  }
  return names;
}

/** What an index names need not all be there: an image for one platform is often saved with the index of all. */
async function labelChildren(
  store: ImageStore,
  files: ReadonlyMap<string, Loaded>,
  { digest, mediaType }: Descriptor,
): Promise<void> {
  const path = `blobs/sha256/${digest.slice("sha256:".length)}`;
  if (!files.has(path)) return;
  if (isIndex(mediaType)) {
    const manifests = parseIndex(path, json(files, path)).filter((each) =>
      files.has(`blobs/sha256/${each.digest.slice("sha256:".length)}`),
    );
    await store.label(digest, childLabels(manifests));
    for (const manifest of manifests) await labelChildren(store, files, manifest);
  } else if (isManifest(mediaType)) {
    const { config, layers } = parseManifest(path, json(files, path));
    await store.label(digest, childLabels([config, ...layers]));
  }
}
