// containerd's configuration of the CRI plugin, in the form of its version: before 2.0 one plugin, since then two. Used by kubelet.ts.
import { join } from "node:path";
import { containerdVersion } from "../harness/runtime.ts";

export interface Handler {
  readonly runtimeType: string;
  readonly runtimePath?: string;
  readonly options?: Readonly<Record<string, string | boolean>>;
}

export interface CriConfig {
  /** By default one: "holdfast", by the runtime's name. The first is the default one. */
  readonly handlers?: Readonly<Record<string, Handler>>;
  readonly sandboxImage?: string;
  /** Further lines, as an administrator would add them. */
  readonly lines?: readonly string[];
}

export const BY_NAME: Handler = { runtimeType: "io.containerd.holdfast.v2" };

/** Lines for containerd's configuration file; `directory` is the daemon's own. */
export function criConfig(config: CriConfig, directory: string): string[] {
  const handlers = Object.entries(config.handlers ?? { holdfast: BY_NAME });
  const isNew = containerdVersion >= 2;
  const plugin = isNew ? "io.containerd.cri.v1.runtime" : "io.containerd.grpc.v1.cri";
  const table = (...names: string[]): string =>
    `[plugins.${[plugin, ...names].map((name) => JSON.stringify(name)).join(".")}]`;
  const image = JSON.stringify(config.sandboxImage ?? "");
  return [
    ...(isNew
      ? ['[plugins."io.containerd.cri.v1.images".pinned_images]', `  sandbox = ${image}`, table()]
      : [table(), `  sandbox_image = ${image}`]),
    // Where root may not lower a score (no CAP_SYS_RESOURCE), no pod could start.
    "  restrict_oom_score_adj = true",
    table("cni"),
    `  conf_dir = ${JSON.stringify(join(directory, "cni"))}`,
    `  bin_dir = "/usr/lib/cni"`,
    table("containerd"),
    `  default_runtime_name = ${JSON.stringify(handlers[0]?.[0] ?? "")}`,
    ...handlers.flatMap(([name, handler]) => [
      table("containerd", "runtimes", name),
      `  runtime_type = ${JSON.stringify(handler.runtimeType)}`,
      ...(handler.runtimePath === undefined
        ? []
        : [`  runtime_path = ${JSON.stringify(handler.runtimePath)}`]),
      table("containerd", "runtimes", name, "options"),
      ...Object.entries(handler.options ?? {}).map(
        ([option, value]) => `  ${option} = ${JSON.stringify(value)}`,
      ),
    ]),
  ];
}
