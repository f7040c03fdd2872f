// What a transfer works on: containerd's services, as a client has them. holdfastd gives its own, called straight; the command line those of a daemon that
// has no transfer service (containerd 1.6).
import type {
  ContentDefinition,
  WriteContentRequest,
  WriteContentResponse,
} from "../api/generated/content.ts";
import type { DiffDefinition } from "../api/generated/diff.ts";
import type { ImagesDefinition } from "../api/generated/images.ts";
import type { LeasesDefinition } from "../api/generated/leases.ts";
import type { SnapshotsDefinition } from "../api/generated/snapshots.ts";
import type { RequestOf, ResponseOf, ServiceDefinition } from "../ttrpc/definition.ts";
import { Code } from "../ttrpc/status.ts";

type Method<M> = (
  request: RequestOf<M>,
) => M extends { readonly responseStream: true } ? AsyncIterable<ResponseOf<M>> : Promise<ResponseOf<M>>;

/** The calls of a service that take one request. */
export type Calls<D extends ServiceDefinition> = {
  readonly [K in keyof D["methods"]]: Method<D["methods"][K]>;
};

/** One write of content: each message is answered before the next one goes. */
export interface ContentWrite {
  send(
    message: Pick<WriteContentRequest, "action" | "ref" | "offset"> & Partial<WriteContentRequest>,
  ): Promise<WriteContentResponse>;
  /** Gives the write up, if it has not been committed; what has been written stays. */
  end(): unknown;
}

export interface ImageServices {
  readonly content: Pick<Calls<ContentDefinition>, "info" | "update" | "read" | "abort">;
  readonly images: Calls<ImagesDefinition>;
  readonly snapshots: Calls<SnapshotsDefinition>;
  readonly diff: Calls<DiffDefinition>;
  readonly leases: Calls<LeasesDefinition>;
  /** The lease that keeps what is made; undefined for none. */
  readonly lease: string | undefined;
  writeContent(): ContentWrite;
  /** The same; what is made is put on the lease. */
  underLease(lease: string): ImageServices;
}

/** The code of a failed call, whoever has made it; undefined for any other error. */
export function codeOf(error: unknown): number | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

/** undefined if there is no such thing. */
export async function orNone<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (codeOf(error) === Code.NOT_FOUND) return undefined;
    throw error;
  }
}

/** Adds labels to a blob. Nothing is written if it has them. */
export async function keepLabels(
  services: ImageServices,
  digest: string,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  await labelContent(services, digest, await missingLabels(services, digest, labels));
}

/** Those that a blob does not have. Rejects with NOT_FOUND. */
export async function missingLabels(
  { content }: Pick<ImageServices, "content">,
  digest: string,
  labels: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const { info } = await content.info({ digest });
  return Object.fromEntries(Object.entries(labels).filter(([name, value]) => info?.labels[name] !== value));
}

/** Adds labels to a blob. */
export async function labelContent(
  { content }: ImageServices,
  digest: string,
  labels: Readonly<Record<string, string>>,
): Promise<void> {
  const updateMask = Object.keys(labels).map((name) => `labels.${name}`);
  if (updateMask.length === 0) return;
  const info = { digest, size: 0n, createdAt: undefined, updatedAt: undefined, labels: { ...labels } };
  await content.update({ info, updateMask });
}

/** A blob as a whole. Rejects with NOT_FOUND, and if it is longer than `limit`. */
export async function readContent(
  { content }: ImageServices,
  digest: string,
  limit: number,
): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const { data } of content.read({ digest, offset: 0n, size: 0n })) {
    size += data.length;
    if (size > limit) throw new Error(`${digest}: longer than ${limit} bytes`);
    parts.push(data);
  }
  return Buffer.concat(parts);
}

/** Puts a blob on the services' lease: it, and what it names, stays from now on. Rejects with NOT_FOUND if it has gone by then. */
export async function holdContent({ leases, content, lease }: ImageServices, digest: string): Promise<void> {
  if (lease === undefined) throw new Error(`nothing can hold ${digest}: there is no lease`);
  await leases.addResource({ id: lease, resource: { id: digest, type: "content" } });
  await content.info({ digest });
}
