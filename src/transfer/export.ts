// Images of the daemon as an archive: an OCI layout, with the manifest.json that older programs read beside it. The same images give the same bytes.
import { once } from "node:events";
import { type Pack, pack } from "tar-stream";
import {
  type Descriptor,
  isManifestType,
  MAX_MANIFEST,
  type Platform,
  parseManifest,
} from "../registry/descriptor.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { familiarName, NAME_ANNOTATION, REF_ANNOTATION } from "./archive.ts";
import { bestMatch } from "./platforms.ts";
import { type ImageServices, orNone, readContent } from "./services.ts";

export interface ExportRequest {
  readonly images: readonly { readonly name: string; readonly target: Descriptor }[];
  /** Empty for all. */
  readonly platforms: readonly Platform[];
  readonly skipDockerManifest: boolean;
  readonly skipNonDistributable: boolean;
}

interface DockerEntry {
  readonly Config: string;
  readonly RepoTags: string[];
  readonly Layers: readonly string[];
}

interface TakenImage {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

const NON_DISTRIBUTABLE = /\.layer\.nondistributable\.|rootfs\.foreign\.diff\./;

/** The bytes of the archive. Rejects with NOT_FOUND before the first if something that is wanted is not there. */
export async function* exportImages(
  services: ImageServices,
  request: ExportRequest,
): AsyncGenerator<Uint8Array> {
  const chosen = new Chosen(services, request);
  for (const { name, target } of request.images) await chosen.add(name, target);
  const archive = pack();
  const written = write(services, archive, chosen).catch((error: unknown) =>
    archive.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  try {
    for await (const chunk of archive) yield chunk as Uint8Array;
  } finally {
    archive.destroy();
    await written;
  }
}

/** What goes into the archive. */
class Chosen {
  readonly #services: ImageServices;
  readonly #request: ExportRequest;
  readonly blobs = new Map<string, Descriptor>();
  readonly manifests: Descriptor[] = [];
  readonly docker = new Map<string, DockerEntry>();

  constructor(services: ImageServices, request: ExportRequest) {
    this.#services = services;
    this.#request = request;
  }

  get withDocker(): boolean {
    return !this.#request.skipDockerManifest;
  }

  async add(name: string, target: Descriptor): Promise<void> {
    const images = await this.#take(name, target);
    const tag = /:([^:/@]+)$/.exec(name.split("@")[0] ?? "")?.[1];
    const annotations = {
      ...target.annotations,
      [NAME_ANNOTATION]: name,
      ...(tag !== undefined && { [REF_ANNOTATION]: tag }),
    };
    this.manifests.push({ ...target, annotations });
    const [image] = images;
    // Of several platforms it cannot say which.
    if (image === undefined || images.length !== 1) return;
    const { config, layers } = image;
    const known = this.docker.get(config.digest);
    if (known === undefined)
      this.docker.set(config.digest, {
        Config: pathOf(config.digest),
        RepoTags: [familiarName(name)],
        Layers: layers.map(({ digest }) => pathOf(digest)),
      });
    else known.RepoTags.push(familiarName(name));
  }

  /** The images that are in it. */
  async #take(name: string, descriptor: Descriptor): Promise<TakenImage[]> {
    const bytes = await readContent(this.#services, descriptor.digest, MAX_MANIFEST);
    const { config, children } = parseManifest(descriptor, bytes);
    this.blobs.set(descriptor.digest, descriptor);
    if (config !== undefined) {
      const layers = children.filter(
        ({ mediaType }) => !(this.#request.skipNonDistributable && NON_DISTRIBUTABLE.test(mediaType)),
      );
      for (const each of [config, ...layers]) {
        await this.#services.content.info({ digest: each.digest });
        this.blobs.set(each.digest, each);
      }
      return [{ config, layers: children }];
    }
    const wanted = this.#matching(children.filter(({ mediaType }) => isManifestType(mediaType)));
    const found: TakenImage[] = [];
    for (const child of wanted) found.push(...(await this.#whole(name, child)));
    if (found.length === 0)
      throw new TtrpcError(
        Code.NOT_FOUND,
        `${name}: nothing of it is here for the platforms that are wanted: not found`,
      );
    return found;
  }

  /** Nothing of a manifest of which something is not here. */
  async #whole(name: string, child: Descriptor): Promise<TakenImage[]> {
    const before = new Set(this.blobs.keys());
    const taken = await orNone(this.#take(name, child));
    if (taken !== undefined) return taken;
    for (const digest of [...this.blobs.keys()]) if (!before.has(digest)) this.blobs.delete(digest);
    return [];
  }

  #matching(children: readonly Descriptor[]): readonly Descriptor[] {
    const { platforms } = this.#request;
    if (platforms.length === 0) return children;
    const best = platforms.map((wanted) => bestMatch(wanted, children)).filter((each) => each !== undefined);
    const [only] = children;
    if (best.length === 0 && children.length === 1 && only?.platform === undefined) return children;
    return [...new Set(best)];
  }
}

function pathOf(digest: string): string {
  return `blobs/sha256/${digest.slice("sha256:".length)}`;
}

async function write(services: ImageServices, archive: Pack, chosen: Chosen): Promise<void> {
  archive.entry({ name: "blobs/", type: "directory", mode: 0o755, mtime: EPOCH });
  archive.entry({ name: "blobs/sha256/", type: "directory", mode: 0o755, mtime: EPOCH });
  const blobs = [...chosen.blobs.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1));
  for (const { digest, size } of blobs) await writeEntry(services, archive, digest, size);
  const index = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: chosen.manifests,
  };
  writeText(archive, "index.json", index);
  if (chosen.withDocker && chosen.docker.size > 0)
    writeText(archive, "manifest.json", [...chosen.docker.values()]);
  writeText(archive, "oci-layout", { imageLayoutVersion: "1.0.0" });
  archive.finalize();
}

const EPOCH = new Date(0);

function writeText(archive: Pack, name: string, value: unknown): void {
  archive.entry({ name, mode: 0o444, mtime: EPOCH }, JSON.stringify(value));
}

async function writeEntry(
  services: ImageServices,
  archive: Pack,
  digest: string,
  size: number,
): Promise<void> {
  const entry = archive.entry({ name: pathOf(digest), size, mode: 0o444, mtime: EPOCH });
  const closed = once(entry, "close");
  for await (const { data } of services.content.read({ digest, offset: 0n, size: 0n })) {
    if (archive.destroyed) return;
    if (!entry.write(data)) await Promise.race([once(entry, "drain"), once(archive, "close"), closed]);
  }
  entry.end(undefined);
  await Promise.race([closed, once(archive, "close")]);
}
