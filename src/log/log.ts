// The shim's own log: text lines as logrus writes them, into the fifo that the daemon reads.
import { OUR_RUNTIME } from "../api/runtime-names.ts";
import type { Platform } from "../platform/platform.ts";

type Level = "debug" | "info" | "warning" | "error";
type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warning(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}

/** A log that hands each line to `write`. Lines of level debug only if asked for. */
export function createLog(platform: Platform, debug: boolean, write: (line: string) => void): Log {
  const at =
    (level: Level) =>
    (message: string, fields: Fields = {}) => {
      const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${quote(errorText(value))}`);
      write(
        `time="${timestamp(platform.clock.realtimeNs())}" level=${level} msg=${quote(message)}${rest.join("")} runtime=${OUR_RUNTIME}\n`,
      );
    };
  return {
    debug: debug ? at("debug") : () => {},
    info: at("info"),
    warning: at("warning"),
    error: at("error"),
  };
}

/** The text of whatever was thrown. */
export function errorText(value: unknown): string {
  return value instanceof Error ? value.message : String(value);
}

const PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/@^+";

function quote(text: string): string {
  for (const character of text) if (!PLAIN.includes(character)) return JSON.stringify(text);
  return text === "" ? '""' : text;
}

/** RFC 3339 in UTC, to the nanosecond. `ns` counts from 1970. */
export function timestamp(ns: bigint): string {
  const seconds = Number(ns / 1_000_000_000n);
  const [year, month, day] = civilDate(Math.floor(seconds / 86400));
  const second = seconds % 86400;
  const pad = (value: number | bigint, width: number): string => String(value).padStart(width, "0");
  const time = [Math.floor(second / 3600), Math.floor(second / 60) % 60, second % 60];
  const date = `${pad(year, 4)}-${pad(month, 2)}-${pad(day, 2)}`;
  return `${date}T${time.map((part) => pad(part, 2)).join(":")}.${pad(ns % 1_000_000_000n, 9)}Z`;
}

/** The Gregorian date of a day counted from 1970, with years that start in March so that the leap day comes last. */
function civilDate(days: number): [year: number, month: number, day: number] {
  const shifted = days + 719468;
  const era = Math.floor(shifted / 146097);
  const dayOfEra = shifted - era * 146097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36524) - Math.floor(dayOfEra / 146096)) /
      365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const marchMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * marchMonth + 2) / 5) + 1;
  const month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
  return [yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day];
}
