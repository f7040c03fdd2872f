// Cases of text and hashes.
import * as host from "holdfast:host";
import { report } from "./report.ts";

export const bytesCases = {
  /** Decodes each argument, given in hex. */
  decode(...samples: string[]): void {
    for (const hex of samples) report(host.decodeUtf8(fromHex(hex)));
  },
  /** Encodes each argument, given as JSON, to hex. */
  encode(...samples: string[]): void {
    for (const json of samples) report(toHex(host.encodeUtf8(JSON.parse(json) as string)));
  },
  /** Hashes so many bytes 0, 1, 2 … 255, 0 … for each argument. */
  sha256(...sizes: string[]): void {
    for (const size of sizes) report(host.sha256(new Uint8Array(Number(size)).map((_, index) => index)));
  },
  /** A batch of each argument's entries, in hex: JSON, null for undefined, an array for bytes. */
  recordBatch(...samples: string[]): void {
    for (const json of samples) {
      const entries = JSON.parse(json) as (string | number[] | null)[];
      const given = entries.map((each) => (Array.isArray(each) ? new Uint8Array(each) : (each ?? undefined)));
      report(toHex(host.recordBatch(given)));
    }
  },
  /** Batches that cannot be: how each is refused. */
  wrongBatches(): void {
    const long = "k".repeat(65_536);
    const entries: unknown[] = [
      [long, ""],
      [`${long.slice(2)}é`, ""],
      [undefined, ""],
      ["key", 5],
      undefined,
    ];
    for (const each of entries) {
      try {
        report(host.recordBatch(each as string[]).length);
      } catch (error) {
        report((error as Error).name);
      }
    }
  },
  /** Bytes are taken from the view, not from its whole buffer. */
  views(): void {
    const whole = host.encodeUtf8("abcdef");
    report(host.decodeUtf8(whole.subarray(2, 4)));
    report(host.decodeUtf8(whole.subarray(3, 3)));
    report(host.decodeUtf8(new Uint8Array(0)));
    report(host.sha256(whole.subarray(6)));
  },
};

function fromHex(hex: string): Uint8Array {
  const bytes = new Uint8Array(hex.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

function toHex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
