// Pulls and pushes for verbs: what flags say of them, and the picture of how far they are.
import { HOST_PLATFORM } from "../../transfer/platforms.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { Problem, USAGE } from "../text/problem.ts";
import type { RegistryLogin } from "./credentials.ts";
import { platformOf } from "./manifest.ts";
import { progressView } from "./progress.ts";
import { fullName } from "./reference.ts";
import { ImageStore } from "./store.ts";
import { pull, push } from "./transfer.ts";

/** As commander gives them. */
export interface RegistryFlags {
  readonly user?: string;
  readonly plainHttp?: boolean;
  readonly hostsDir?: string;
}

export interface PullFlags extends RegistryFlags {
  readonly platform?: readonly string[];
  readonly allPlatforms?: boolean;
}

/** Returns the image's name. `output` is where people look. */
export async function pullImage(
  daemon: DaemonClient,
  text: string,
  flags: PullFlags,
  output: NodeJS.WriteStream,
  isQuiet: boolean,
): Promise<string> {
  const reference = fullName(text);
  const asked = (flags.platform ?? []).map(platformOf);
  if (asked.length > 0 && flags.allPlatforms === true)
    throw new Problem("--platform or --all-platforms: give one", USAGE);
  const platforms = flags.allPlatforms === true ? [] : asked.length > 0 ? asked : [HOST_PLATFORM];
  const view = progressView(output, isQuiet);
  try {
    await pull(daemon, { reference, platforms, ...accessOf(flags) }, view);
  } finally {
    view.end();
  }
  return reference;
}

/** Returns the name that it has in the registry. `as` is that, if it is another than the image's own. */
export async function pushImage(
  daemon: DaemonClient,
  text: string,
  as: string | undefined,
  flags: PullFlags,
  output: NodeJS.WriteStream,
  isQuiet: boolean,
): Promise<string> {
  const { name } = await new ImageStore(daemon).find(text);
  const reference = fullName(as ?? name);
  const platforms = (flags.platform ?? []).map(platformOf);
  const view = progressView(output, isQuiet);
  try {
    await push(daemon, { image: name, reference, platforms, ...accessOf(flags) }, view);
  } finally {
    view.end();
  }
  return reference;
}

/** What flags say of a registry. */
export function accessOf({ user, plainHttp, hostsDir = "" }: RegistryFlags): {
  login: RegistryLogin | undefined;
  plainHttp: boolean;
  hostsDir: string;
} {
  return { login: user === undefined ? undefined : userOf(user), plainHttp: plainHttp === true, hostsDir };
}

function userOf(text: string): RegistryLogin {
  const colon = text.indexOf(":");
  if (colon <= 0) throw new Problem('--user: give user:password, or use "holdfast login"', USAGE);
  return { username: text.slice(0, colon), secret: text.slice(colon + 1) };
}
