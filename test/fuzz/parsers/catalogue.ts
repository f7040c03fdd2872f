// All parsers in TypeScript that are fuzzed. Used by thread.ts and the list of all targets.
import { archiveTargets } from "./archives.ts";
import { bundleTargets } from "./bundle.ts";
import { daemonTargets } from "./daemon.ts";
import { kernelTargets } from "./kernel.ts";
import { protocolTargets } from "./protocol.ts";
import type { ParserTarget } from "./target.ts";

export const parserTargets: readonly ParserTarget[] = [
  ...protocolTargets,
  ...bundleTargets,
  ...kernelTargets,
  ...daemonTargets,
  ...archiveTargets,
];
