// The introspection service: what of containerd's API is here, for clients that look before they ask. The plugins have containerd's names, and are those
// that are really here: a snapshotter that this host cannot have says so.
import type { IntrospectionDefinition, Plugin } from "../../api/generated/introspection.ts";
import { Code } from "../../ttrpc/status.ts";
import type { Images, SnapshotterState } from "../images/images.ts";
import { parseFilters } from "../server/filters.ts";
import type { Handlers } from "../server/grpc-server.ts";

/** containerd's name of the kind of plugin that is a service. */
const SERVICE_TYPE = "io.containerd.grpc.v1";
const SNAPSHOTTER_TYPE = "io.containerd.snapshotter.v1";
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };
const platform = { os: "linux", architecture: ARCHITECTURES[process.arch] ?? process.arch, variant: "" };

/** `uuid` is the daemon's own; `services` are the full names of those that are served. */
export function introspectionService(
  uuid: string,
  services: ReadonlySet<string>,
  images: Images,
): Handlers<IntrospectionDefinition> {
  return {
    async plugins({ filters }) {
      const matches = parseFilters(filters);
      const plugins = [
        plugin("io.containerd.content.v1", "content", { exports: { root: images.blobs.directory } }),
        ...(await images.snapshotterStates()).map(snapshotterPlugin),
        plugin("io.containerd.differ.v1", "walking", { platforms: [platform] }),
        plugin("io.containerd.gc.v1", "scheduler"),
        plugin("io.containerd.runtime.v2", "task", { platforms: [platform] }),
        ...[...services].flatMap(serviceName).map((id) => plugin(SERVICE_TYPE, id)),
      ];
      return { plugins: plugins.filter((each) => matches((path) => fieldOf(each, path))) };
    },
    server: () => ({ uuid }),
  };
}

function plugin(type: string, id: string, more: Partial<Plugin> = {}): Plugin {
  return { type, id, requires: [], platforms: [], exports: {}, capabilities: [], ...more };
}

function snapshotterPlugin({ name, directory, fault }: SnapshotterState): Plugin {
  return plugin(SNAPSHOTTER_TYPE, name, {
    platforms: [platform],
    exports: { root: directory },
    ...(fault !== undefined && { initErr: { code: Code.UNKNOWN, message: fault, details: [] } }),
  });
}

/** "content" of containerd.services.content.v1.Content; nothing of what is none of containerd's. */
function serviceName(fullName: string): string[] {
  if (fullName === "grpc.health.v1.Health") return ["healthcheck"];
  const found = /^containerd\.services\.([a-z]+)\.v1\./.exec(fullName)?.[1];
  return found === undefined ? [] : [found];
}

function fieldOf({ type, id, platforms }: Plugin, [first]: readonly string[]): string | undefined {
  if (first === "type") return type;
  if (first === "id") return id;
  const [each] = platforms;
  return first === "platforms" && each !== undefined ? `${each.os}/${each.architecture}` : undefined;
}
