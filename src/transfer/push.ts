// An image to a registry: what it does not have of the blobs, several at a time, then the manifests, the one that has the name last.

import {
  type Descriptor,
  isManifestType,
  MAX_MANIFEST,
  type Platform,
  parseManifest,
} from "../registry/descriptor.ts";
import type { BlobSource, Pushes } from "../registry/pushes.ts";
import type { Reference } from "../registry/reference.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { Limiter } from "./limiter.ts";
import { bestMatch, isSame, platformText } from "./platforms.ts";
import { Progresses, type Report } from "./progress.ts";
import { type ImageServices, orNone, readContent } from "./services.ts";
import { noteSource, sourceFor } from "./sources.ts";

const PARALLEL = 3;
/** Layers that must not be given on: they stay where they are. */
const NOT_FOR_US = /\.layer\.nondistributable\.|rootfs\.foreign\.diff\./;

export interface PushContext {
  readonly services: ImageServices;
  readonly pushes: Pushes;
  readonly report: Report;
  /** Ends everything that goes on, the requests of `pushes` too. */
  readonly ending: AbortController;
}

export interface PushRequest {
  readonly reference: Reference;
  /** Empty for all that are here. */
  readonly platforms: readonly Platform[];
}

/** Returns what has been pushed: the image's target, or of an index that is not here as a whole the one manifest that is. */
export async function pushImage(
  context: PushContext,
  target: Descriptor,
  request: PushRequest,
): Promise<Descriptor> {
  const { reference } = request;
  const progresses = new Progresses(context.report, reference.text, "uploading");
  progresses.say(`Pushing to OCI Registry (${reference.text})`);
  progresses.say("pushing content", reference.text, target);
  const pushed = await new Push(context, request, progresses).run(target);
  progresses.say("pushed content", reference.text, pushed);
  progresses.say(`Completed push to OCI Registry (${reference.text})`);
  return pushed;
}

/** A manifest or an index, with what it names. */
interface Node {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly blobs: readonly Descriptor[];
  readonly manifests: readonly Node[];
}

class Push {
  readonly #context: PushContext;
  readonly #request: PushRequest;
  readonly #progresses: Progresses;
  readonly #limiter = new Limiter(PARALLEL);
  readonly #blobs = new Map<string, Promise<void>>();

  constructor(context: PushContext, request: PushRequest, progresses: Progresses) {
    this.#context = context;
    this.#request = request;
    this.#progresses = progresses;
  }

  async run(target: Descriptor): Promise<Descriptor> {
    const node = await this.#read(target);
    const chosen = await this.#choose(node);
    const { tag, digest } = this.#request.reference;
    if (digest !== undefined && digest !== chosen.descriptor.digest) {
      const text = `the image is ${chosen.descriptor.digest}, and is to be pushed as ${digest}: failed precondition`;
      throw new TtrpcError(Code.FAILED_PRECONDITION, text);
    }
    await this.#push(chosen, tag ?? chosen.descriptor.digest);
    return chosen.descriptor;
  }

  /** Rejects with NOT_FOUND for what is not here. */
  async #read(descriptor: Descriptor): Promise<Node> {
    const bytes = await readContent(this.#context.services, descriptor.digest, MAX_MANIFEST);
    const { config, children } = parseManifest(descriptor, bytes);
    this.#progresses.children(descriptor, config === undefined ? children : [config, ...children]);
    if (config !== undefined) return { descriptor, bytes, blobs: [config, ...children], manifests: [] };
    const manifests: Node[] = [];
    for (const child of children.filter(({ mediaType }) => isManifestType(mediaType))) {
      const node = await orNone(this.#read(child));
      manifests.push(node ?? { descriptor: child, bytes: Buffer.alloc(0), blobs: [], manifests: [] });
    }
    return { descriptor, bytes, blobs: [], manifests };
  }

  /** The whole, if it can be had; else the manifest of the platform that is wanted, or the only one that is here. */
  async #choose(node: Node): Promise<Node> {
    const { platforms } = this.#request;
    if (node.manifests.length === 0) return node;
    const wanted = platforms.length === 0 ? node.manifests : this.#matching(node.manifests);
    const here: Node[] = [];
    for (const each of wanted) if (await this.#isHere(each)) here.push(each);
    if (here.length === node.manifests.length) return node;
    const [only] = here;
    // What only says something of another manifest is no image that one could mean.
    const images = here.filter(({ descriptor }) => descriptor.platform?.os !== "unknown");
    const [image] = images;
    if (only !== undefined && here.length === wanted.length && wanted.length === 1) return only;
    if (platforms.length === 0 && image !== undefined && images.length === 1) return image;
    const lacking = wanted.filter((each) => !here.includes(each)).map(({ descriptor }) => nameOf(descriptor));
    const what = wanted.length === 0 ? platforms.map(platformText).join(", ") : lacking.join(", ");
    const text = `the image is not here for ${what}: pull it with --all-platforms, or push one with --platform: not found`;
    throw new TtrpcError(Code.NOT_FOUND, text);
  }

  #matching(manifests: readonly Node[]): Node[] {
    const { platforms } = this.#request;
    const candidates = manifests.map((node) => ({ node, platform: node.descriptor.platform }));
    const exact = candidates.filter(
      ({ platform }) => platform !== undefined && platforms.some((wanted) => isSame(platform, wanted)),
    );
    if (exact.length > 0) return exact.map(({ node }) => node);
    return platforms.flatMap((wanted) => bestMatch(wanted, candidates)?.node ?? []);
  }

  /** Whether all of it is in the content, or in the registry already. */
  async #isHere({ descriptor, bytes, blobs, manifests }: Node): Promise<boolean> {
    if (bytes.length === 0) return this.#context.pushes.exists(descriptor);
    for (const each of blobs) if (!(await this.#hasBlob(each))) return false;
    for (const each of manifests) if (!(await this.#isHere(each))) return false;
    return true;
  }

  async #hasBlob(descriptor: Descriptor): Promise<boolean> {
    const { services, pushes } = this.#context;
    if (NOT_FOR_US.test(descriptor.mediaType)) return true;
    if ((await orNone(services.content.info({ digest: descriptor.digest }))) !== undefined) return true;
    return pushes.exists(descriptor);
  }

  /** What a manifest names is there before it. */
  async #push({ descriptor, bytes, blobs, manifests }: Node, name: string): Promise<void> {
    if (bytes.length === 0) return;
    // Said before what is in it.
    const job = this.#progresses.job(descriptor);
    await this.#all(
      blobs.filter(({ mediaType }) => !NOT_FOR_US.test(mediaType)).map((each) => this.#blob(each)),
    );
    for (const each of manifests) await this.#push(each, each.descriptor.digest);
    await this.#context.pushes.manifest(descriptor, bytes, name);
    job.say("complete");
  }

  /** The first failure ends all others. */
  async #all(all: readonly Promise<void>[]): Promise<void> {
    await Promise.allSettled(
      all.map((each) => each.catch((error: unknown) => this.#context.ending.abort(error))),
    );
    this.#context.ending.signal.throwIfAborted();
  }

  #blob(descriptor: Descriptor): Promise<void> {
    const known = this.#blobs.get(descriptor.digest);
    if (known !== undefined) return known;
    const job = this.#progresses.job(descriptor);
    const sending = this.#limiter.run(async () => {
      this.#context.ending.signal.throwIfAborted();
      if (await this.#context.pushes.exists(descriptor)) {
        job.say("already exists");
        return;
      }
      const source: BlobSource = (offset) => this.#content(descriptor.digest, offset);
      const { services } = this.#context;
      const { reference } = this.#request;
      const mountFrom = await sourceFor(services, reference, descriptor.digest);
      await this.#context.pushes.upload({ descriptor, source, mountFrom, sent: (offset) => job.at(offset) });
      await noteSource(services, reference, descriptor.digest);
      job.say("complete");
    });
    this.#blobs.set(descriptor.digest, sending);
    return sending;
  }

  async *#content(digest: string, offset: number): AsyncGenerator<Uint8Array> {
    const request = { digest, offset: BigInt(offset), size: 0n };
    for await (const { data } of this.#context.services.content.read(request)) yield data;
  }
}

function nameOf({ platform, digest }: Descriptor): string {
  return platform === undefined ? digest : platformText(platform);
}
