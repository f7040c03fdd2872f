// The OCI spec of a container that is run from flags, which change what default-spec.ts or a bundle has.
import { isAbsolute, join, resolve } from "node:path";
import { Problem, USAGE } from "../text/problem.ts";
import { plainSpec } from "./default-spec.ts";
import { readBundleSpec } from "./exec-process.ts";
import { type Mount, withMounts } from "./mounts.ts";
import { isTrap, type Root } from "./root-file.ts";
import { securityOf } from "./security.ts";
import type { Spec, SpecFlags } from "./spec-flags.ts";
import { withEnvironment, withUser } from "./spec-process.ts";
import { withLimits } from "./ulimits.ts";

const CPU_PERIOD_US = 100_000;

/** Throws a Problem for flags that contradict each other or name what is not there. */
export function makeSpec(namespace: string, id: string, flags: SpecFlags): Spec {
  if (flags.rootfs !== undefined && flags.bundle !== undefined) {
    throw new Problem("give either an image, or --rootfs DIR, or --bundle DIR", USAGE);
  }
  const { privileged, securityOpts, addedCapabilities, droppedCapabilities } = flags;
  if (
    flags.bundle !== undefined &&
    (privileged || [...securityOpts, ...addedCapabilities, ...droppedCapabilities].length > 0)
  ) {
    throw new Problem(
      "--privileged, --cap-add, --cap-drop and --security-opt are not for --bundle: a bundle says itself what it may",
      USAGE,
    );
  }
  const base = flags.bundle === undefined ? plainSpec(flags, securityOf(flags)) : bundleSpec(flags.bundle);
  const { path } = base.root as { path: string };
  const [top = path, ...below] = flags.image?.directories ?? [];
  if (flags.image !== undefined) demandPlainFiles({ directory: top, below, pid: undefined });
  const user = flags.user ?? flags.image?.config.config?.User;
  const process =
    user === undefined || user === ""
      ? (base.process as Record<string, unknown>)
      : withUser(base.process as Record<string, unknown>, user, { directory: top, below, pid: undefined });
  const linux = base.linux as Record<string, unknown>;
  const terminal = flags.terminal || process.terminal === true;
  return {
    ...base,
    ...(flags.hostname !== undefined && { hostname: flags.hostname }),
    mounts: withMounts(base.mounts as Mount[], [...flags.mounts, ...flags.declared]),
    process: {
      ...process,
      terminal,
      ...argsOf(flags),
      ...(flags.cwd !== undefined && { cwd: flags.cwd }),
      env: withEnvironment((process.env as string[] | undefined) ?? [], flags.env, terminal),
      ...(flags.ulimits.length > 0 && { rlimits: withLimits(process.rlimits, flags.ulimits) }),
    },
    annotations: { ...(base.annotations as object | undefined), ...flags.annotations },
    linux: {
      ...linux,
      cgroupsPath: linux.cgroupsPath ?? `/${namespace}/${id}`,
      resources: limited((linux.resources as Record<string, unknown> | undefined) ?? {}, flags),
    },
  };
}

/** The runtime reads these for whoever is to run, and would wait for a fifo's writer. Throws a Problem. */
function demandPlainFiles(root: Root): void {
  for (const path of ["/etc/passwd", "/etc/group"])
    if (isTrap(root, path)) throw new Problem(`the image's ${path} is no plain file of a sensible size`);
}

/** The command; of an image, behind its entrypoint, or its own. None for a bundle that has one. */
function argsOf({ command, image, entrypoint }: SpecFlags): { args?: readonly string[] } {
  const { Entrypoint, Cmd } = image?.config.config ?? {};
  const first = entrypoint === undefined ? (Entrypoint ?? []) : [entrypoint].filter((word) => word !== "");
  // As with Docker: another entrypoint has nothing to do with the image's command.
  const rest = command.length > 0 || entrypoint !== undefined ? command : (Cmd ?? []);
  const args = [...first, ...rest];
  return args.length > 0 ? { args } : {};
}

/** OCI LinuxResources for the limits that flags give, over `base`. */
export function limited(
  base: Record<string, unknown>,
  {
    memory,
    cpus,
    pids,
  }: {
    readonly memory: number | undefined;
    readonly cpus: number | undefined;
    readonly pids: number | undefined;
  },
): Record<string, unknown> {
  return {
    ...base,
    ...(memory !== undefined && { memory: { ...(base.memory as object | undefined), limit: memory } }),
    ...(pids !== undefined && { pids: { limit: pids } }),
    ...(cpus !== undefined && {
      cpu: {
        ...(base.cpu as object | undefined),
        period: CPU_PERIOD_US,
        quota: Math.round(cpus * CPU_PERIOD_US),
      },
    }),
  };
}

function bundleSpec(bundle: string): Spec {
  const spec = readBundleSpec(resolve(bundle));
  const root = spec.root as { path?: unknown } | undefined;
  if (typeof root?.path !== "string") throw new Problem(`${join(bundle, "config.json")}: names no root.path`);
  const path = isAbsolute(root.path) ? root.path : resolve(bundle, root.path);
  return { process: {}, linux: {}, mounts: [], ...spec, root: { ...root, path } };
}
