// What can be said of a container by flags, and an OCI spec as the command line handles it. Read by spec.ts and default-spec.ts.
import type { ImageConfig } from "../images/manifest.ts";
import type { Mount } from "./mounts.ts";
import type { SecurityFlags } from "./security.ts";
import type { Ulimit } from "./ulimits.ts";

/** What a container gets from its image. */
export interface SpecImage {
  readonly config: ImageConfig;
  /** The directories that its root file system is made of, the topmost first: names of users are looked up there. */
  readonly directories: readonly string[];
}

export interface SpecFlags extends SecurityFlags {
  readonly rootfs: string | undefined;
  readonly bundle: string | undefined;
  readonly image: SpecImage | undefined;
  /** In place of the image's. */
  readonly entrypoint: string | undefined;
  readonly command: readonly string[];
  readonly terminal: boolean;
  readonly env: readonly string[];
  readonly cwd: string | undefined;
  readonly user: string | undefined;
  readonly hostname: string | undefined;
  readonly mounts: readonly Mount[];
  /** For the volumes that the image declares. */
  readonly declared: readonly Mount[];
  readonly readOnly: boolean;
  /** Bytes. */
  readonly memory: number | undefined;
  readonly cpus: number | undefined;
  /** The most processes and threads; -1 for no bound. */
  readonly pids: number | undefined;
  readonly ulimits: readonly Ulimit[];
  readonly hostNetwork: boolean;
  readonly annotations: Readonly<Record<string, string>>;
}

export type Spec = Record<string, unknown>;
