// Labels of records, changed by a field mask: the same for namespaces, blobs, images and snapshots (containerd's metadata/content.go, images.go, snapshot.go).
import { nodeClock } from "../../platform/node.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { validateLabels } from "../server/identifiers.ts";

type Labels = Readonly<Record<string, string>>;

/** What `mask` makes of the labels `before`; an empty value takes a label away. Without a mask the wanted ones replace all. Throws INVALID_ARGUMENT. */
export function changeLabels(
  what: string,
  before: Labels,
  wanted: Labels,
  mask: readonly string[],
  name?: string,
): Record<string, string> {
  let labels: Record<string, string> = mask.length === 0 ? { ...wanted } : { ...before };
  for (const path of mask) {
    const key = path.startsWith("labels.") ? path.slice("labels.".length) : undefined;
    if (key !== undefined) labels[key] = wanted[key] ?? "";
    else if (path === "labels") labels = { ...wanted };
    else {
      const text = `cannot update ${JSON.stringify(path)} field on ${what}${name === undefined ? "" : ` ${JSON.stringify(name)}`}: invalid argument`;
      throw new TtrpcError(Code.INVALID_ARGUMENT, text);
    }
  }
  labels = withoutEmpty(labels);
  validateLabels("info.Labels", labels);
  return labels;
}

/** A label without a value is none. */
export function withoutEmpty(labels: Labels): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ""));
}

/** The current time as records keep it. */
export function nowText(): string {
  return nodeClock.realtimeNs().toString();
}
