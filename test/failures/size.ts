// How often a failure is provoked: a few times in `npm test`, as often as it takes to be sure in `npm run campaign`.

export const isFullCampaign: boolean = process.env.HOLDFAST_CAMPAIGN === "full";

export function times(short: number, full: number): number {
  return isFullCampaign ? full : short;
}
