// The daemon's images and their content, read and written as containerd's clients do.

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { WriteAction } from "../../api/generated/content.ts";
import type { Image } from "../../api/generated/images.ts";
import { CLIENT_LABEL } from "../../api/labels.ts";
import { processIdentity } from "../../platform/node-process.ts";
import type { Platform } from "../../registry/descriptor.ts";
import { holdContent } from "../../transfer/services.ts";
import { Code } from "../../ttrpc/status.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { orNone } from "../containers/record.ts";
import { callCode, Problem } from "../text/problem.ts";
import {
  type Descriptor,
  demandPlatform,
  forPlatform,
  type ImageConfig,
  isIndex,
  isManifest,
  type Manifest,
  OCI_MANIFEST,
  parseIndex,
  parseManifest,
} from "./manifest.ts";
import { fullName, fullNameOrNone } from "./reference.ts";

/** As large as a manifest or a configuration may be, in bytes. */
const MAX_JSON = 8 * 1024 * 1024;
/** Bytes of one message of a write. */
const CHUNK = 1024 * 1024;
const ABORT_TRIES = 20;
/** In ms. */
const ABORT_PAUSE = 25;
/** A lease that nobody gives back ends by itself, in ms. */
const LEASE_TIME = 24 * 3600 * 1000;

export interface ResolvedImage {
  readonly name: string;
  /** Of the manifest. */
  readonly digest: string;
  readonly mediaType: string;
  readonly manifest: Manifest;
  readonly config: ImageConfig;
}

export class ImageStore {
  readonly #daemon: DaemonClient;

  constructor(daemon: DaemonClient) {
    this.#daemon = daemon;
  }

  /** Does `act` under a lease: what it makes is kept until it has ended. `released` gets a promise of the lease's end, instead of its being waited for. */
  static async underLease<T>(
    daemon: DaemonClient,
    act: (store: ImageStore) => Promise<T>,
    released?: (end: Promise<unknown>) => void,
  ): Promise<T> {
    const id = `holdfast-${randomBytes(8).toString("hex")}`;
    const expire = new Date(Date.now() + LEASE_TIME).toISOString();
    // holdfastd ends it as soon as we have ended.
    const labels = { "containerd.io/gc.expire": expire, [CLIENT_LABEL]: processIdentity() };
    await daemon.leases.create({ id, labels });
    try {
      return await act(new ImageStore(daemon.underLease(id)));
    } finally {
      const end = daemon.leases.delete({ id, sync: false }).catch(() => {});
      if (released === undefined) await end;
      else released(end);
    }
  }

  get daemon(): DaemonClient {
    return this.#daemon;
  }

  /** The image of a name as people write it. Throws a Problem if there is none. */
  async find(text: string): Promise<Image> {
    const image = await this.lookUp(text, fullName(text));
    if (image === undefined) throw new Problem(`${text}: no such image; "holdfast images" lists them`);
    return image;
  }

  /** The same; undefined if there is none, or it is no name of an image. */
  async lookUp(text: string, full: string | undefined = fullNameOrNone(text)): Promise<Image | undefined> {
    const names = full === undefined ? [text] : [...new Set([text, full])];
    const found = await Promise.all(names.map((name) => orNone(this.#daemon.images.get({ name }))));
    return found.find((answer) => answer?.image !== undefined)?.image;
  }

  /** Under a lease: what an image's name stands for stays until that ends, whoever removes the name. Throws a Problem if it has gone. */
  async hold(name: string, digest: string): Promise<void> {
    if ((await orNone(holdContent(this.#daemon, digest).then(() => true))) === undefined)
      throw new Problem(`${name}: the image has been removed`);
  }

  /** The same for a snapshot, but who removes it by its name removes it. */
  async holdSnapshot(snapshotter: string, key: string): Promise<void> {
    const id = this.#daemon.lease ?? "";
    await this.#daemon.leases.addResource({ id, resource: { id: key, type: `snapshots/${snapshotter}` } });
  }

  /** Its manifest for a platform, this machine's if none is given, and its configuration. Under a lease it is held. Throws a Problem. */
  async resolve({ name, target }: Image, platform?: Platform): Promise<ResolvedImage> {
    if (target === undefined) throw new Problem(`${name}: the image has no target`);
    const reading = this.#read(name, target, platform);
    if (this.#daemon.lease === undefined) return reading;
    // What a digest names is the same before it is held. That it has gone says more than what was not found then.
    reading.catch(() => {});
    await this.hold(name, target.digest);
    return reading;
  }

  async #read(
    name: string,
    target: Pick<Descriptor, "digest" | "mediaType">,
    platform: Platform | undefined,
  ): Promise<ResolvedImage> {
    let descriptor = target;
    if (isIndex(descriptor.mediaType)) {
      const manifests = parseIndex(name, await this.readJson(descriptor.digest));
      descriptor = forPlatform(name, manifests, platform);
    }
    const resolved = await this.resolveManifest(name, descriptor);
    if (platform !== undefined) demandPlatform(name, resolved.config, platform);
    return resolved;
  }

  /** The image of a manifest. Throws a Problem. */
  async resolveDigest(name: string, digest: string): Promise<ResolvedImage> {
    const { mediaType = OCI_MANIFEST } = (await this.readJson(digest)) as { mediaType?: string };
    return this.resolveManifest(name, { digest, mediaType });
  }

  /** Throws a Problem for what is no manifest of an image. */
  async resolveManifest(
    name: string,
    { digest, mediaType }: Pick<Descriptor, "digest" | "mediaType">,
  ): Promise<ResolvedImage> {
    if (!isManifest(mediaType)) throw new Problem(`${name}: ${mediaType} is no image`);
    const manifest = parseManifest(name, await this.readJson(digest));
    const config = (await this.readJson(manifest.config.digest)) as ImageConfig;
    return { name, digest, mediaType, manifest, config };
  }

  /** Throws a Problem if it is too large, or no JSON object. */
  async readJson(digest: string): Promise<object> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const { data } of this.#daemon.content.read({ digest, offset: 0n, size: 0n })) {
      parts.push(data);
      size += data.length;
      if (size > MAX_JSON) throw new Problem(`${digest}: more than ${MAX_JSON} bytes of JSON`);
    }
    const value: unknown = JSON.parse(Buffer.concat(parts).toString());
    if (typeof value !== "object" || value === null) throw new Problem(`${digest}: no JSON object`);
    return value;
  }

  /** Writes a blob, and returns its digest and size. One that is there already is taken as it is, where its digest is known before. */
  async write(
    source: AsyncIterable<Uint8Array>,
    { expected = "", labels = {} }: { expected?: string; labels?: Record<string, string> } = {},
  ): Promise<{ digest: string; size: number }> {
    const ref = `holdfast-${randomBytes(8).toString("hex")}`;
    const stream = this.#daemon.writeContent();
    let offset = 0n;
    try {
      for await (const chunk of source) {
        for (let at = 0; at < chunk.length; at += CHUNK) {
          const data = chunk.subarray(at, at + CHUNK);
          await stream.send({ action: WriteAction.WRITE, ref, offset, data });
          offset += BigInt(data.length);
        }
      }
      const { digest } = await stream.send({ action: WriteAction.COMMIT, ref, offset, expected, labels });
      return { digest, size: Number(offset) };
    } catch (error) {
      if (callCode(error) !== Code.ALREADY_EXISTS) {
        stream.end();
        await this.#abort(ref);
        throw error;
      }
      const digest = /sha256:[0-9a-f]{64}/.exec(String(error))?.[0] ?? expected;
      if (Object.keys(labels).length > 0) await this.label(digest, labels);
      return { digest, size: Number(offset) };
    } finally {
      stream.end();
    }
  }

  /** What was written until then would keep its place on the disk for a day. The daemon may not have seen yet that we write no more. */
  async #abort(ref: string): Promise<void> {
    for (let tries = 0; tries < ABORT_TRIES; tries++) {
      try {
        await this.#daemon.content.abort({ ref });
        return;
      } catch (error) {
        if (callCode(error) !== Code.UNAVAILABLE) return;
        await sleep(ABORT_PAUSE);
      }
    }
  }

  async writeJson(value: object, labels: Record<string, string>): Promise<{ digest: string; size: number }> {
    const bytes = Buffer.from(JSON.stringify(value));
    return this.write(
      (async function* () {
        yield bytes;
      })(),
      { labels },
    );
  }

  /** Adds labels to a blob. */
  async label(digest: string, labels: Record<string, string>): Promise<void> {
    const info = { digest, size: 0n, createdAt: undefined, updatedAt: undefined, labels };
    const updateMask = Object.keys(labels).map((name) => `labels.${name}`);
    await this.#daemon.content.update({ info, updateMask });
  }

  /** Gives an image a name, whatever had it before. */
  async name(name: string, { mediaType, digest, size }: Descriptor): Promise<void> {
    const target = { mediaType, digest, size: BigInt(size), annotations: {} };
    const image = { name, labels: {}, target, createdAt: undefined, updatedAt: undefined };
    try {
      await this.#daemon.images.create({ image });
    } catch (error) {
      if (callCode(error) !== Code.ALREADY_EXISTS) throw error;
      await this.#daemon.images.update({ image, updateMask: ["target"] });
    }
  }
}
