// An image from a registry: what its reference stands for, the manifests for the platforms that are wanted, their layers, several at a time, unpacked as
// they come, and at the end the name. Until then the transfer's lease keeps it all.
import {
  type Descriptor,
  isIndex,
  isManifest,
  MAX_MANIFEST,
  type Platform,
  parseManifest,
} from "../registry/descriptor.ts";
import type { Pulls } from "../registry/pulls.ts";
import type { Reference } from "../registry/reference.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { fetchBlob } from "./fetch.ts";
import { Limiter } from "./limiter.ts";
import { bestMatch, isSame, platformText } from "./platforms.ts";
import { Progresses, type Report } from "./progress.ts";
import { codeOf, type ImageServices, labelContent, orNone, readContent } from "./services.ts";
import { noteSource, sourceLabels } from "./sources.ts";
import { MAX_CONFIG, unpackLayers } from "./unpack.ts";

/** Blobs on their way at a time: as containerd and Docker have it. */
const PARALLEL = 3;
/** Indexes within indexes. */
const MAX_DEPTH = 4;

export interface PullRequest {
  readonly reference: Reference;
  /** What the image is called then. */
  readonly names: (digest: string) => readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /** Empty for all. */
  readonly platforms: readonly Platform[];
  /** Of an index, the manifest that runs best on each platform, and not those that are for it exactly. */
  readonly bestOnly: boolean;
  /** Manifests and configurations of the other platforms too. */
  readonly allMetadata: boolean;
  readonly unpacks: readonly { readonly platform: Platform | undefined; readonly snapshotter: string }[];
}

export interface PullContext {
  readonly services: ImageServices;
  readonly pulls: Pulls;
  /** To tell namespaces apart. */
  readonly scope: string;
  readonly report: Report;
  /** Ends everything that goes on, the requests of `pulls` too. */
  readonly ending: AbortController;
}

/** Returns what the reference stands for. */
export async function pullImage(context: PullContext, request: PullRequest): Promise<Descriptor> {
  const { services, pulls, report } = context;
  const { reference } = request;
  const title = `OCI Registry (${reference.text})`;
  const progresses = new Progresses(report, reference.text, "downloading");
  progresses.say(`Resolving from ${title}`);
  const target = await pulls.resolve();
  progresses.say(`Pulling from ${title}`);
  progresses.say("fetching image content", reference.text, target);
  await new Pull(context, request, progresses).run(target);
  for (const name of request.names(target.digest)) {
    await nameImage(services, name, target, request.labels);
    progresses.say("saved", name, target);
  }
  progresses.say(`Completed pull from ${title}`);
  return target;
}

/** A manifest that is wanted whole, with its configuration and layers. */
interface Wanted {
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  /** undefined if nothing says it before the configuration is read. */
  readonly platform: Platform | undefined;
}

class Pull {
  readonly #context: PullContext;
  readonly #request: PullRequest;
  readonly #progresses: Progresses;
  readonly #limiter = new Limiter(PARALLEL);
  /** By digest: what several point at comes once. */
  readonly #fetches = new Map<string, Promise<unknown>>();
  constructor(context: PullContext, request: PullRequest, progresses: Progresses) {
    this.#context = context;
    this.#request = request;
    this.#progresses = progresses;
  }

  async run(target: Descriptor): Promise<void> {
    const wanted = await this.#manifests(target, 0);
    this.#demandUnpackable(wanted);
    const all = wanted.flatMap((image) => [
      ...image.layers.map((layer) => this.#fetch(layer)),
      ...this.#unpackers(image).map((snapshotter) => this.#unpack(image, snapshotter)),
    ]);
    await this.#all(all);
  }

  /** The first failure ends all others; nothing goes on when this settles. */
  async #all<T>(all: readonly Promise<T>[]): Promise<T[]> {
    const settled = await Promise.allSettled(
      all.map((each) =>
        each.catch((error: unknown) => {
          this.#context.ending.abort(error);
          throw error;
        }),
      ),
    );
    this.#context.ending.signal.throwIfAborted();
    return settled.filter((each) => each.status === "fulfilled").map(({ value }) => value);
  }

  /** Brings in a manifest, or an index and what of it is wanted, with configurations. Returns the manifests that are wanted whole. */
  async #manifests(descriptor: Descriptor, depth: number, known?: Platform): Promise<Wanted[]> {
    if (depth > MAX_DEPTH) throw invalid(`${descriptor.digest}: an index at depth ${depth}`);
    const bytes = await this.#manifest(descriptor);
    const { config, children } = parseManifest(descriptor, bytes);
    this.#progresses.children(descriptor, config === undefined ? children : [config, ...children]);
    if (config === undefined) return this.#index(descriptor, children, depth);
    await labelContent(this.#context.services, descriptor.digest, manifestLabels(config, children));
    if (config.size > MAX_CONFIG)
      throw invalid(`configuration ${config.digest}: ${config.size} bytes are too many`);
    await this.#fetch(config);
    return [{ config, layers: children, platform: known }];
  }

  async #index(descriptor: Descriptor, children: readonly Descriptor[], depth: number): Promise<Wanted[]> {
    const images = children.filter(({ mediaType }) => isManifest(mediaType) || isIndex(mediaType));
    const chosen = this.#choose(images);
    if (chosen.length === 0) throw noMatch(descriptor.digest, this.#request.platforms, images);
    const others = this.#request.allMetadata ? images.filter((each) => !chosen.includes(each)) : [];
    await labelContent(this.#context.services, descriptor.digest, indexLabels(children));
    const wanted = await this.#all([
      ...chosen.map((each) => this.#manifests(each, depth + 1, each.platform)),
      ...others.map((each) => this.#metadata(each, depth + 1)),
    ]);
    return wanted.flat();
  }

  /** Without it the image could not be pushed as a whole; a registry need not have it. */
  async #metadata(descriptor: Descriptor, depth: number): Promise<Wanted[]> {
    try {
      await this.#manifests(descriptor, depth);
    } catch (error) {
      if (codeOf(error) !== Code.NOT_FOUND) throw error;
    }
    return [];
  }

  #choose(manifests: readonly Descriptor[]): readonly Descriptor[] {
    const { platforms, bestOnly } = this.#request;
    if (platforms.length === 0) return manifests;
    if (bestOnly) {
      const [only] = manifests;
      if (only !== undefined && manifests.length === 1 && only.platform === undefined) return [only];
      const best = platforms
        .map((wanted) => bestMatch(wanted, manifests))
        .filter((each) => each !== undefined);
      return [...new Set(best)];
    }
    return manifests.filter(
      ({ platform }) => platform === undefined || platforms.some((wanted) => isSame(platform, wanted)),
    );
  }

  async #manifest(descriptor: Descriptor): Promise<Buffer> {
    if (descriptor.size > MAX_MANIFEST)
      throw invalid(`manifest ${descriptor.digest}: ${descriptor.size} bytes are too many`);
    await this.#fetch(descriptor);
    return readContent(this.#context.services, descriptor.digest, MAX_MANIFEST);
  }

  #fetch(descriptor: Descriptor): Promise<unknown> {
    const known = this.#fetches.get(descriptor.digest);
    if (known !== undefined) return known;
    const job = this.#progresses.job(descriptor);
    const { services, pulls } = this.#context;
    const fetching = this.#limiter.run(async () => {
      const { reference } = this.#request;
      const labels = sourceLabels(reference);
      const outcome = await fetchBlob(
        { services, pulls, signal: this.#context.ending.signal, labels },
        descriptor,
        job,
      );
      if (outcome === "there") await noteSource(services, reference, descriptor.digest);
      job.say(outcome === "there" ? "already exists" : "complete");
    });
    // Whoever waits for it hears of it.
    fetching.catch(() => {});
    this.#fetches.set(descriptor.digest, fetching);
    return fetching;
  }

  #unpackers({ platform }: Wanted): string[] {
    return this.#request.unpacks
      .filter(
        (each) =>
          each.platform === undefined || platform === undefined || this.#fits(platform, each.platform),
      )
      .map(({ snapshotter }) => snapshotter);
  }

  #fits(platform: Platform, wanted: Platform): boolean {
    return this.#request.bestOnly
      ? bestMatch(wanted, [{ platform }]) !== undefined
      : isSame(platform, wanted);
  }

  #demandUnpackable(wanted: readonly Wanted[]): void {
    for (const { platform } of this.#request.unpacks) {
      const found = wanted.some(
        (each) =>
          platform === undefined || each.platform === undefined || this.#fits(each.platform, platform),
      );
      if (!found && platform !== undefined) throw noMatch("the image", [platform], []);
    }
  }

  #unpack({ config, layers }: Wanted, snapshotter: string): Promise<string> {
    const { services, scope } = this.#context;
    return unpackLayers({
      services,
      scope,
      snapshotter,
      config,
      layers,
      fetched: (layer) => this.#fetch(layer),
      progresses: this.#progresses,
      signal: this.#context.ending.signal,
    });
  }
}

/** As containerd labels what a manifest needs. */
export function manifestLabels(config: Descriptor, layers: readonly Descriptor[]): Record<string, string> {
  return Object.fromEntries([
    ["containerd.io/gc.ref.content.config", config.digest],
    ...layers.map(({ digest }, index) => [`containerd.io/gc.ref.content.l.${index}`, digest]),
  ]);
}

/** As containerd labels what an index needs: all of it, as another pull may bring in what this one does not. */
export function indexLabels(manifests: readonly Descriptor[]): Record<string, string> {
  return Object.fromEntries(
    manifests.map(({ digest }, index) => [`containerd.io/gc.ref.content.m.${index}`, digest]),
  );
}

function noMatch(what: string, platforms: readonly Platform[], there: readonly Descriptor[]): TtrpcError {
  const wanted = platforms.map(platformText).join(", ");
  const offered = there
    .map(({ platform }) => (platform === undefined ? "?" : platformText(platform)))
    .join(", ");
  const more = offered === "" ? "" : `; there is ${offered}`;
  return new TtrpcError(
    Code.NOT_FOUND,
    `no match for platform ${wanted} in manifest ${what}${more}: not found`,
  );
}

function invalid(text: string): TtrpcError {
  return new TtrpcError(Code.INVALID_ARGUMENT, `${text}: invalid argument`);
}

/** Gives an image a name, whatever had it before. */
export async function nameImage(
  { images }: ImageServices,
  name: string,
  { mediaType, digest, size, annotations }: Descriptor,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const target = { mediaType, digest, size: BigInt(size), annotations: { ...annotations } };
  const image = { name, labels: { ...labels }, target, createdAt: undefined, updatedAt: undefined };
  for (;;) {
    try {
      await images.create({ image });
      return;
    } catch (error) {
      if (codeOf(error) !== Code.ALREADY_EXISTS) throw error;
    }
    // Somebody may remove it in between.
    if ((await orNone(images.update({ image, updateMask: [] }))) !== undefined) return;
  }
}
