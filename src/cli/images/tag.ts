// Another name for an image.
import type { DaemonClient } from "../containers/daemon-client.ts";
import { Problem } from "../text/problem.ts";
import { fullName } from "./reference.ts";
import { ImageStore } from "./store.ts";

/** Throws a Problem if there is no such image, or not any more when it gets the name. */
export function tagImage(daemon: DaemonClient, from: string, to: string): Promise<void> {
  return ImageStore.underLease(daemon, async (store) => {
    const { target } = await store.find(from);
    if (target === undefined) throw new Problem(`${from}: the image has no target`);
    await store.hold(from, target.digest);
    await store.name(fullName(to), { ...target, size: Number(target.size) });
  });
}
