// A short run of every campaign, with the seed of the day's work in HOLDFAST_SEED or always the same one: what fails is repeated by the line it reports.
import assert from "node:assert/strict";
import { test } from "node:test";
import { daemonKind, isGoShim, runtimeName } from "../harness/runtime.ts";
import { CampaignRun, reportText } from "./campaign.ts";
import { campaigns } from "./catalogue.ts";
import { checkedOut } from "./commit.ts";

const seed = Number(process.env.HOLDFAST_SEED ?? 11);
const skip = isGoShim ? "what the Go shim does in them is in docs/reliability.md" : false;

for (const campaign of campaigns) {
  test(`${campaign.name}: ${campaign.what}`, { skip }, async (context) => {
    const run = new CampaignRun(campaign.name, { seed, lives: campaign.lives.short });
    await campaign.run(run);
    const report = run.report(daemonKind, runtimeName, checkedOut());
    context.diagnostic(reportText(report));
    assert.deepEqual(report.failed, [], report.repeat);
    assert.ok(Object.values(report.checked).every((count) => count > 0));
  });
}
