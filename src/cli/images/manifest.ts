// What an image is made of, as the OCI image specification and Docker's schema 2 have it: an index of manifests, a manifest of layers, a configuration.
import type { Platform } from "../../registry/descriptor.ts";
import { bestMatch, HOST_PLATFORM, parsePlatform, platformText } from "../../transfer/platforms.ts";
import { Problem, USAGE } from "../text/problem.ts";

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Manifest {
  readonly mediaType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export interface HistoryEntry {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

export interface ImageConfig {
  readonly os?: string;
  readonly architecture?: string;
  readonly variant?: string | undefined;
  readonly created?: string;
  readonly author?: string;
  readonly history?: readonly HistoryEntry[];
  readonly config?: {
    readonly User?: string;
    readonly Env?: readonly string[];
    readonly Entrypoint?: readonly string[];
    readonly Cmd?: readonly string[];
    readonly WorkingDir?: string;
    readonly StopSignal?: string;
    readonly Volumes?: Readonly<Record<string, unknown>>;
    readonly Labels?: Readonly<Record<string, string>>;
    readonly ExposedPorts?: Readonly<Record<string, unknown>>;
  };
  readonly rootfs?: { readonly diff_ids?: readonly string[] };
}

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
export const OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
export const OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
export const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
export const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
export const DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";

export const isIndex = (mediaType: string): boolean => mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
export const isManifest = (mediaType: string): boolean =>
  mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;

const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** The platform of a flag. Throws a Problem for what is none. */
export function platformOf(text: string): Platform {
  const platform = parsePlatform(text);
  if (platform === undefined) throw new Problem(`--platform ${text}: give one such as linux/arm64/v8`, USAGE);
  return platform;
}

/** The manifest of an index that runs on `wanted`. Throws a Problem that names those that there are. */
export function forPlatform(
  what: string,
  manifests: readonly Descriptor[],
  wanted: Platform = HOST_PLATFORM,
): Descriptor {
  const [only] = manifests;
  if (manifests.length === 1 && only !== undefined && only.platform === undefined) return only;
  const found = bestMatch(wanted, manifests);
  if (found !== undefined) return found;
  const there = manifests.map(({ platform }) =>
    platform === undefined ? "what says nothing" : platformText(platform),
  );
  throw new Problem(`${what}: there is nothing for ${platformText(wanted)}; there is ${there.join(", ")}`);
}

/** Throws a Problem for an image that does not run on `wanted`. What does not say what it is for is for any. */
export function demandPlatform(what: string, config: ImageConfig, wanted: Platform): void {
  const { os, architecture: on, variant } = config;
  if (os === undefined || os === "" || on === undefined || on === "") return;
  const platform = { os, architecture: on, variant };
  if (bestMatch(wanted, [{ platform }]) === undefined)
    throw new Problem(`${what}: it is for ${platformText(platform)}, not for ${platformText(wanted)}`);
}

/** Throws a Problem for what is no descriptor. */
export function parseDescriptor(what: string, value: unknown): Descriptor {
  const descriptor = value as Descriptor;
  const holds =
    typeof descriptor === "object" &&
    descriptor !== null &&
    typeof descriptor.mediaType === "string" &&
    DIGEST.test(String(descriptor.digest)) &&
    Number.isSafeInteger(descriptor.size) &&
    descriptor.size >= 0;
  if (!holds) throw new Problem(`${what}: not the descriptor of anything`);
  return descriptor;
}

/** Throws a Problem that names what is malformed. */
export function parseManifest(what: string, value: unknown): Manifest {
  const { config, layers } = (value ?? {}) as { config?: unknown; layers?: unknown };
  if (!Array.isArray(layers)) throw new Problem(`${what}: a manifest without layers`);
  return { config: parseDescriptor(what, config), layers: layers.map((each) => parseDescriptor(what, each)) };
}

/** Throws a Problem that names what is malformed. */
export function parseIndex(what: string, value: unknown): Descriptor[] {
  const { manifests } = (value ?? {}) as { manifests?: unknown };
  if (!Array.isArray(manifests)) throw new Problem(`${what}: an index without manifests`);
  return manifests.map((each) => parseDescriptor(what, each));
}

/** The labels by which a daemon's collection knows what an index or manifest needs. */
export function childLabels(children: readonly Descriptor[]): Record<string, string> {
  return Object.fromEntries(
    children.map(({ digest }, index) => [`containerd.io/gc.ref.content.${index}`, digest]),
  );
}
