// A blob put on record for a namespace: by who writes content (api/content.ts) and by who makes layers (api/diff.ts).
import { nowText } from "../api/labels.ts";
import type { Store } from "../records/store.ts";
import { INGEST_TYPE } from "./collection.ts";
import type { Images } from "./images.ts";

/** Whose blob it is. */
export interface Owner {
  readonly namespace: string;
  /** What keeps it for now; undefined for nothing. */
  readonly lease: string | undefined;
}

export interface BlobRecord {
  readonly size: number;
  readonly labels: Record<string, string>;
  /** Of the ingest that it was, whose place it takes on the lease. */
  readonly ref?: string;
}

export function ingestResource(ref: string): { readonly id: string; readonly type: string } {
  return { id: ref, type: INGEST_TYPE };
}

/** Puts the blob on the lease's record and the namespace's. One that is on record stays as it is. Rejects with NOT_FOUND for a lease that is not there. */
export async function recordContent(
  { images, store }: { readonly images: Images; readonly store: Store },
  { namespace, lease }: Owner,
  digest: string,
  { size, labels, ref }: BlobRecord,
): Promise<void> {
  const resource = { id: digest, type: "content" };
  await images.keep(namespace, lease, resource, ref === undefined ? resource : ingestResource(ref));
  if (store.contents.find(namespace, digest) !== undefined) return;
  const now = nowText();
  const isUnleased = lease === undefined;
  await store.contents.insert(namespace, digest, {
    size,
    createdAt: now,
    updatedAt: now,
    labels,
    isUnleased,
  });
}
