// `-info` and `-v`: what this shim and its OCI runtime are. Called by cmd/shim/main.ts.
import { SPEC_FEATURES } from "../api/any.ts";
import { Any } from "../api/generated/google/protobuf/any.ts";
import { RuntimeInfo } from "../api/generated/runtime_info.ts";
import { OUR_RUNTIME } from "../api/runtime-names.ts";
import { REVISION, VERSION } from "../api/version.ts";
import type { Platform } from "../platform/platform.ts";
import { Reaper } from "../reaper/reaper.ts";
import { defaultOptions, readOptions } from "../runc/options.ts";
import { readFeatures } from "../runc/runc.ts";

/** What a person sees. */
export function versionText(program: string): string {
  return `${program}:\n  Version:  ${VERSION}\n  Runtime:  ${OUR_RUNTIME}\n  Engine:   QuickJS\n`;
}

/**
 * The encoded RuntimeInfo for the options on stdin, if any. A runtime that is missing, or older than the `features` command, leaves its
 * features out. Throws if stdin is malformed.
 */
export async function runtimeInfo(platform: Platform): Promise<Uint8Array> {
  const input = platform.fds.readToEnd(0);
  const options = input.length > 0 ? Any.decode(input) : undefined;
  const { binary } = options === undefined ? defaultOptions : readOptions(platform, options);
  const features = await readFeatures(platform, new Reaper(platform), binary);
  return RuntimeInfo.encode({
    name: OUR_RUNTIME,
    version: { version: VERSION, revision: REVISION },
    options,
    features:
      features === undefined ? undefined : { typeUrl: SPEC_FEATURES, value: platform.text.encode(features) },
    annotations: {},
  }).finish();
}
