// The services of images, and transfers, which are made of them. daemon.ts has them served.
import { ContentDefinition } from "../../api/generated/content.ts";
import { DiffDefinition } from "../../api/generated/diff.ts";
import { ImagesDefinition } from "../../api/generated/images.ts";
import { LeasesDefinition } from "../../api/generated/leases.ts";
import { SnapshotsDefinition } from "../../api/generated/snapshots.ts";
import { StreamingDefinition } from "../../api/generated/streaming.ts";
import { TransferDefinition } from "../../api/generated/transfer.ts";
import type { ServiceDefinition } from "../../ttrpc/definition.ts";
import { contentService } from "../api/content.ts";
import { diffService } from "../api/diff.ts";
import { imagesService } from "../api/images.ts";
import { leasesService } from "../api/leases.ts";
import { snapshotsService } from "../api/snapshots.ts";
import { streamingService } from "../api/streaming.ts";
import { transferService } from "../api/transfer.ts";
import type { Config } from "../config.ts";
import type { Store } from "../records/store.ts";
import type { Handlers } from "../server/grpc-server.ts";
import { Streams } from "../server/streams.ts";
import type { Images } from "./images.ts";

export function serveImages(
  images: Images,
  store: Store,
  { hostsDir, timeouts }: Config,
  serve: <D extends ServiceDefinition>(definition: D, handlers: Handlers<D>) => void,
): void {
  const services = {
    content: contentService(images, store),
    images: imagesService(images, store),
    snapshots: snapshotsService(images, store),
    diff: diffService(images, store),
    leases: leasesService(store, images),
  };
  serve(ContentDefinition, services.content);
  serve(ImagesDefinition, services.images);
  serve(SnapshotsDefinition, services.snapshots);
  serve(DiffDefinition, services.diff);
  serve(LeasesDefinition, services.leases);
  const streams = new Streams();
  serve(StreamingDefinition, streamingService(streams));
  const transfers = {
    services,
    streams,
    hostsDirectories: hostsDir.split(":").filter((path) => path !== ""),
    snapshotter: () => images.usualSnapshotter(),
    expanded: (archive: AsyncIterable<Uint8Array>) => images.layers.expanded(archive),
    idleMs: timeouts.registry,
  };
  serve(TransferDefinition, transferService(transfers));
}
