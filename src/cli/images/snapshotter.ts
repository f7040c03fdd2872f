// Which of the daemon's snapshotters has the images: overlays, or copies where this host can have no overlays.
import type { DaemonClient } from "../containers/daemon-client.ts";

const PREFERRED = "overlayfs";
const ANYWHERE = "native";

export async function snapshotterOf({ introspection }: DaemonClient): Promise<string> {
  const { plugins } = await introspection.plugins({
    filters: [`type==io.containerd.snapshotter.v1,id==${PREFERRED}`],
  });
  return plugins.some(({ initErr }) => initErr === undefined) ? PREFERRED : ANYWHERE;
}
