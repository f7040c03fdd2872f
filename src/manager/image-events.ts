// The events of images (containerd's metadata/images.go). images.ts makes one for the services.
import { IMAGE_CREATE, IMAGE_DELETE, IMAGE_UPDATE } from "../api/event-types.ts";
import { ImageCreate, ImageDelete, ImageUpdate } from "../api/generated/image_events.ts";
import type { Image } from "../api/generated/images.ts";
import type { Topic } from "../events/topics.ts";
import type { Exchange } from "./exchange.ts";

const created: Topic<ImageCreate> = { topic: "/images/create", typeUrl: IMAGE_CREATE, codec: ImageCreate };
const updated: Topic<ImageUpdate> = { topic: "/images/update", typeUrl: IMAGE_UPDATE, codec: ImageUpdate };
const deleted: Topic<ImageDelete> = { topic: "/images/delete", typeUrl: IMAGE_DELETE, codec: ImageDelete };

export interface ImageEvents {
  imageCreated(namespace: string, image: Image): void;
  imageUpdated(namespace: string, image: Image): void;
  imageDeleted(namespace: string, name: string): void;
}

export function imageEvents(exchange: Exchange): ImageEvents {
  return {
    imageCreated: (namespace, { name, labels }) => exchange.publish(namespace, created, { name, labels }),
    imageUpdated: (namespace, { name, labels }) => exchange.publish(namespace, updated, { name, labels }),
    imageDeleted: (namespace, name) => exchange.publish(namespace, deleted, { name }),
  };
}
