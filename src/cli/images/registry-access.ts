// What a user says of a pull or a push. Made by verbs/registry.ts and verbs/run.ts.
import type { Platform } from "../../registry/descriptor.ts";
import type { RegistryLogin } from "./credentials.ts";

export interface RegistryAccess {
  /** In full. */
  readonly reference: string;
  /** In place of what the user's files say. */
  readonly login: RegistryLogin | undefined;
  readonly plainHttp: boolean;
  /** "" for the daemon's own. */
  readonly hostsDir: string;
}

export interface PullWish extends RegistryAccess {
  /** Empty for all. */
  readonly platforms: readonly Platform[];
}

export interface PushWish extends RegistryAccess {
  /** The image that is to be pushed. */
  readonly image: string;
  /** Empty for all that are here. */
  readonly platforms: readonly Platform[];
}
