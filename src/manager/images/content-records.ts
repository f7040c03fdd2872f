// A blob put on record for a namespace: by who writes content (api/content.ts) and by who makes layers (api/diff.ts).
import { nowText } from "../api/labels.ts";
import type { Store } from "../records/store.ts";
import type { Images } from "./images.ts";

/** Whose blob it is. */
export interface Owner {
  readonly namespace: string;
  /** What keeps it for now; undefined for nothing. */
  readonly lease: string | undefined;
}

/** Puts the blob on the lease's record and the namespace's. One that is on record stays as it is. Rejects with NOT_FOUND for a lease that is not there. */
export async function recordContent(
  { images, store }: { readonly images: Images; readonly store: Store },
  { namespace, lease }: Owner,
  digest: string,
  { size, labels }: { readonly size: number; readonly labels: Record<string, string> },
): Promise<void> {
  await images.keep(namespace, lease, { id: digest, type: "content" });
  if (store.contents.find(namespace, digest) !== undefined) return;
  const now = nowText();
  await store.contents.insert(namespace, digest, { size, createdAt: now, updatedAt: now, labels });
}
