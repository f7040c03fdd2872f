// The events of images, blobs and snapshots (containerd's metadata/images.go, content.go, snapshot.go). images.ts makes one for the services.
import {
  CONTENT_DELETE,
  IMAGE_CREATE,
  IMAGE_DELETE,
  IMAGE_UPDATE,
  SNAPSHOT_COMMIT,
  SNAPSHOT_PREPARE,
  SNAPSHOT_REMOVE,
} from "../../api/event-types.ts";
import { ContentDelete } from "../../api/generated/content_events.ts";
import { ImageCreate, ImageDelete, ImageUpdate } from "../../api/generated/image_events.ts";
import type { Image } from "../../api/generated/images.ts";
import { SnapshotCommit, SnapshotPrepare, SnapshotRemove } from "../../api/generated/snapshot_events.ts";
import { topicOf } from "../../events/topics.ts";
import type { Exchange } from "../server/exchange.ts";

const created = topicOf("/images/create", IMAGE_CREATE, ImageCreate);
const updated = topicOf("/images/update", IMAGE_UPDATE, ImageUpdate);
const deleted = topicOf("/images/delete", IMAGE_DELETE, ImageDelete);
const contentDeleted = topicOf("/content/delete", CONTENT_DELETE, ContentDelete);
const prepared = topicOf("/snapshot/prepare", SNAPSHOT_PREPARE, SnapshotPrepare);
const committed = topicOf("/snapshot/commit", SNAPSHOT_COMMIT, SnapshotCommit);
const removed = topicOf("/snapshot/remove", SNAPSHOT_REMOVE, SnapshotRemove);

export interface ImageEvents {
  imageCreated(namespace: string, image: Image): void;
  imageUpdated(namespace: string, image: Image): void;
  imageDeleted(namespace: string, name: string): void;
  contentDeleted(namespace: string, digest: string): void;
  snapshotPrepared(namespace: string, event: SnapshotPrepare): void;
  snapshotCommitted(namespace: string, event: SnapshotCommit): void;
  snapshotRemoved(namespace: string, event: SnapshotRemove): void;
}

/** Of what clients do; a collection publishes nothing. */
export function imageEvents(exchange: Exchange): ImageEvents {
  return {
    imageCreated: (namespace, { name, labels }) => exchange.publish(namespace, created, { name, labels }),
    imageUpdated: (namespace, { name, labels }) => exchange.publish(namespace, updated, { name, labels }),
    imageDeleted: (namespace, name) => exchange.publish(namespace, deleted, { name }),
    contentDeleted: (namespace, digest) => exchange.publish(namespace, contentDeleted, { digest }),
    snapshotPrepared: (namespace, event) => exchange.publish(namespace, prepared, event),
    snapshotCommitted: (namespace, event) => exchange.publish(namespace, committed, event),
    snapshotRemoved: (namespace, event) => exchange.publish(namespace, removed, event),
  };
}
