// What a registry names by digest: the descriptors of the OCI image specification, and the media types of images, OCI's and Docker's schema 2.
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { DIGEST } from "./reference.ts";

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
}

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: Platform | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export const OCI_INDEX = "application/vnd.oci.image.index.v1+json";
export const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
export const DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
/** Of before 2016; nobody pushes it any more. */
const SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+";

/** What we ask for where a manifest is wanted. */
export const ACCEPTED_MANIFESTS: string = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(", ");
/** As large as a manifest may be, in bytes: containerd's bound. */
export const MAX_MANIFEST: number = 8 * 1024 * 1024;
/** The largest blob that makes sense: a number that is exact. */
const MAX_SIZE = Number.MAX_SAFE_INTEGER;

export const isIndex = (mediaType: string): boolean => mediaType === OCI_INDEX || mediaType === DOCKER_LIST;
export const isManifest = (mediaType: string): boolean =>
  mediaType === OCI_MANIFEST || mediaType === DOCKER_MANIFEST;
/** Whether it is asked for at /manifests/, not at /blobs/. */
export const isManifestType = (mediaType: string): boolean => isIndex(mediaType) || isManifest(mediaType);

/** A manifest or an index, checked: what it points at. */
export interface Manifest {
  readonly config: Descriptor | undefined;
  /** Layers of a manifest, manifests of an index. */
  readonly children: readonly Descriptor[];
}

/**
 * Reads what a manifest or an index says. Throws INVALID_ARGUMENT for what is malformed, or could be taken for both: one client would run what another
 * has not looked at (CVE-2021-41190).
 */
export function parseManifest(descriptor: Descriptor, bytes: Uint8Array): Manifest {
  const refuse = (why: string): never => {
    throw new TtrpcError(Code.INVALID_ARGUMENT, `manifest ${descriptor.digest}: ${why}: invalid argument`);
  };
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    refuse(`no JSON: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null) return refuse("no JSON object");
  const { mediaType, config, layers, manifests, fsLayers } = value as Record<string, unknown>;
  if (mediaType !== undefined && mediaType !== "" && mediaType !== descriptor.mediaType)
    refuse(`it says that it is ${JSON.stringify(mediaType)}, and was given as ${descriptor.mediaType}`);
  if (fsLayers !== undefined) refuse("schema 1, which is not supported any more");
  const parse = (each: unknown): Descriptor => parseDescriptor(`manifest ${descriptor.digest}`, each);
  if (isIndex(descriptor.mediaType)) {
    if (layers !== undefined || config !== undefined) refuse("an index with layers or a configuration");
    if (!Array.isArray(manifests)) return refuse("an index without manifests");
    return { config: undefined, children: manifests.map(parse) };
  }
  if (manifests !== undefined) refuse("a manifest with manifests");
  if (layers !== undefined && layers !== null && !Array.isArray(layers)) refuse("layers that are no list");
  return { config: parse(config), children: Array.isArray(layers) ? layers.map(parse) : [] };
}

/** Throws INVALID_ARGUMENT for what is no descriptor of ours. */
export function parseDescriptor(what: string, value: unknown): Descriptor {
  const refuse = (why: string): never => {
    throw new TtrpcError(Code.INVALID_ARGUMENT, `${what}: ${why}: invalid argument`);
  };
  if (typeof value !== "object" || value === null) return refuse("not the descriptor of anything");
  const { mediaType, digest, size, platform, annotations } = value as Record<string, unknown>;
  if (typeof mediaType !== "string" || mediaType === "") return refuse("a descriptor without a media type");
  if (typeof digest !== "string" || !DIGEST.test(digest))
    return refuse(`${JSON.stringify(digest)} is no digest of sha256`);
  if (typeof size !== "number" || !Number.isInteger(size) || size < 0 || size > MAX_SIZE)
    return refuse(`${JSON.stringify(size)} is no size`);
  return { mediaType, digest, size, platform: platformOf(platform), annotations: textsOf(annotations) };
}

function platformOf(value: unknown): Platform | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { os, architecture, variant } = value as Record<string, unknown>;
  if (typeof os !== "string" || typeof architecture !== "string") return undefined;
  return { os, architecture, variant: typeof variant === "string" ? variant : undefined };
}

function textsOf(value: unknown): Record<string, string> | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
  );
}

/** Throws INVALID_ARGUMENT for what is no image. */
export function demandManifestType(name: string, mediaType: string): void {
  if (isManifestType(mediaType)) return;
  const why = mediaType.startsWith(SCHEMA_1)
    ? "schema 1 image manifests are no longer supported"
    : `${JSON.stringify(mediaType)} is no image`;
  throw new TtrpcError(Code.INVALID_ARGUMENT, `${name}: ${why}: invalid argument`);
}
