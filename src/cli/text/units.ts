// Numbers as people read them.

const BYTE_UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** "2.1 MiB"; "-" for what is not known. */
export function bytes(count: number | bigint | undefined): string {
  if (count === undefined) return "-";
  let value = Number(count);
  let unit = 0;
  while (value >= 1024 && unit < BYTE_UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${BYTE_UNITS[unit]}`;
}

/** "340 µs", "12 ms", "3.4 s", "5m10s", "3h04m", "12d". */
export function duration(ms: number | undefined): string {
  if (ms === undefined) return "-";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d`;
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/** Bytes of "64m", "1.5GiB", "4096"; undefined if it is no size. */
export function parseBytes(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text.trim());
  const unit = SIZE_UNITS[match?.[2]?.toLowerCase() ?? "none"];
  return match === null || unit === undefined ? undefined : Math.round(Number(match[1]) * unit);
}

/** Whoever wants to wait longer than a century wants to wait for ever. */
export const MAX_DURATION_MS: number = 100 * 365 * 24 * 3_600_000;

/** Milliseconds of "500ms", "2s", "1m30s", "2" (seconds); undefined if it is no duration. */
export function parseDuration(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  if (!/^(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) return undefined;
  const unit: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  let total = 0;
  for (const [, count, name] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(count) * (unit[name ?? ""] ?? 0);
  }
  return total;
}

/** "2026-01-31T12:00:00.123456789Z" for nanoseconds since 1970: the one shape of times in JSON; undefined for none. */
export function nsToIso(ns: bigint | undefined): string | undefined {
  if (ns === undefined) return undefined;
  const second = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  return `${second}.${(ns % 1_000_000_000n).toString().padStart(9, "0")}Z`;
}

/** Milliseconds from a time in ns since 1970 until now. */
export function msSince(ns: bigint): number {
  return Date.now() - Number(ns / 1_000_000n);
}
