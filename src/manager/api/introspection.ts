// The introspection service: what of containerd's API is here, for clients that look before they ask.
import type { IntrospectionDefinition, Plugin } from "../../api/generated/introspection.ts";
import { parseFilters } from "../filters.ts";
import type { Handlers } from "../grpc-server.ts";

/** containerd's name of the kind of plugin that is a service. */
const SERVICE_TYPE = "io.containerd.grpc.v1";
const SERVICES = [
  "containers",
  "content",
  "diff",
  "events",
  "healthcheck",
  "images",
  "introspection",
  "leases",
  "namespaces",
  "snapshots",
  "tasks",
  "version",
];
/** Of a snapshotter, which newer clients look up before they make a container of an image. */
const SNAPSHOTTER_TYPE = "io.containerd.snapshotter.v1";
const RUNTIME = { type: "io.containerd.runtime.v2", id: "task" };
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };

/** `uuid` is the daemon's own. */
export function introspectionService(
  uuid: string,
  snapshotters: readonly string[],
): Handlers<IntrospectionDefinition> {
  const architecture = ARCHITECTURES[process.arch] ?? process.arch;
  const plugin = ({ type, id }: { type: string; id: string }): Plugin => ({
    type,
    id,
    requires: [],
    platforms: type === SERVICE_TYPE ? [] : [{ os: "linux", architecture, variant: "" }],
    exports: {},
    capabilities: [],
  });
  const plugins = [
    ...SERVICES.map((id) => ({ type: SERVICE_TYPE, id })),
    ...snapshotters.map((id) => ({ type: SNAPSHOTTER_TYPE, id })),
    RUNTIME,
  ].map(plugin);
  return {
    plugins({ filters }) {
      const matches = parseFilters(filters);
      return { plugins: plugins.filter((each) => matches((path) => fieldOf(each, path))) };
    },
    server: () => ({ uuid }),
  };
}

function fieldOf({ type, id, platforms }: Plugin, [first]: readonly string[]): string | undefined {
  if (first === "type") return type;
  if (first === "id") return id;
  const platform = platforms[0];
  return first === "platforms" && platform !== undefined
    ? `${platform.os}/${platform.architecture}`
    : undefined;
}
