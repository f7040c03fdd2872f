// All campaigns that there are. Used by main.ts and short.test.ts.
import type { Campaign } from "./campaign.ts";
import { deaths } from "./deaths.ts";
import { execStorm } from "./exec-storm.ts";
import { exhaustion } from "./exhaustion.ts";
import { fuzzConfig } from "./fuzz/config.ts";
import { fuzzFrames } from "./fuzz/frames.ts";
import { fuzzState } from "./fuzz/state.ts";
import { killStorm } from "./kill-storm/index.ts";
import { model } from "./model.ts";
import { readerFaults } from "./reader-faults.ts";
import { soak } from "./soak.ts";
import { upgrades } from "./upgrades.ts";

export const campaigns: readonly Campaign[] = [
  killStorm,
  deaths,
  execStorm,
  readerFaults,
  exhaustion,
  soak,
  upgrades,
  fuzzFrames,
  fuzzState,
  fuzzConfig,
  model,
];
