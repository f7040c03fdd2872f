// Which of an index's manifests are for which machine: containerd's platforms package.
import type { Platform } from "../registry/descriptor.ts";

const ARCHITECTURES: ReadonlyMap<string, string> = new Map(
  Object.entries({
    x64: "amd64",
    x86_64: "amd64",
    "x86-64": "amd64",
    ia32: "386",
    i386: "386",
    i686: "386",
    aarch64: "arm64",
    armhf: "arm",
    armel: "arm",
  }),
);
const VARIANTS: ReadonlyMap<string, string> = new Map(Object.entries({ armhf: "v7", armel: "v6" }));

/** This machine. */
export const HOST_PLATFORM: Platform = normalize({ os: "linux", architecture: process.arch });

/** One form for what has several names. */
export function normalize({ os, architecture, variant = "" }: Platform): Platform {
  const given = architecture.toLowerCase();
  const arch = ARCHITECTURES.get(given) ?? given;
  let form = (variant === "" ? (VARIANTS.get(given) ?? "") : variant).toLowerCase();
  if (/^\d/.test(form)) form = `v${form}`;
  if (arch === "arm" && form === "") form = "v7";
  if (arch === "arm64" && (form === "v8" || form === "v8.0")) form = "";
  if (arch === "amd64" && form === "v1") form = "";
  return {
    os: os.toLowerCase() === "macos" ? "darwin" : os.toLowerCase(),
    architecture: arch,
    variant: form,
  };
}

/** os/architecture[/variant] */
export function platformText({ os, architecture, variant = "" }: Platform): string {
  return `${os}/${architecture}${variant === "" ? "" : `/${variant}`}`;
}

/** undefined for what is no platform. */
export function parsePlatform(text: string): Platform | undefined {
  const parts = text.split("/");
  if (parts.length > 3 || parts.some((part) => !/^[A-Za-z0-9_.-]+$/.test(part))) return undefined;
  if (parts.length === 1) {
    const [word = ""] = parts;
    if (word.toLowerCase() === "linux") return HOST_PLATFORM;
    return normalize({ os: "linux", architecture: word });
  }
  const [os = "", architecture = "", variant] = parts;
  return normalize({ os, architecture, variant });
}

export function isSame(a: Platform, b: Platform): boolean {
  const [one, other] = [normalize(a), normalize(b)];
  return one.os === other.os && one.architecture === other.architecture && one.variant === other.variant;
}

/** What runs on a machine, the best first: an older variant of its architecture too. */
function runnable(platform: Platform): Platform[] {
  const { os, architecture, variant = "" } = normalize(platform);
  const version = Number(/^v(\d+)/.exec(variant)?.[1] ?? 0);
  const older = (name: string, from: number, to: number): Platform[] =>
    Array.from({ length: Math.max(0, from - to + 1) }, (_, index) => ({
      os,
      architecture: name,
      variant: `v${from - index}`,
    }));
  if (architecture === "amd64")
    return [...older("amd64", version, 1), { os, architecture }, { os, architecture: "386" }];
  if (architecture === "arm") return older("arm", version, 5);
  if (architecture === "arm64")
    return [{ os, architecture, variant }, { os, architecture }, ...older("arm", 8, 5)];
  return [{ os, architecture, variant }];
}

/** The one that runs best on `wanted`; undefined if none does. */
export function bestMatch<T extends { readonly platform?: Platform | undefined }>(
  wanted: Platform,
  candidates: readonly T[],
): T | undefined {
  for (const fit of runnable(wanted)) {
    const found = candidates.find(({ platform }) => platform !== undefined && isSame(platform, fit));
    if (found !== undefined) return found;
  }
  return undefined;
}
