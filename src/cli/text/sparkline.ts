// A row of small bars for the last values of something.

const BARS = "▁▂▃▄▅▆▇█";

/** The last `size` values. */
export class History {
  readonly size: number;
  readonly values: number[] = [];

  constructor(size: number) {
    this.size = size;
  }

  add(value: number): void {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  /** 0 if there is none. */
  get last(): number {
    return this.values.at(-1) ?? 0;
  }
}

/** `width` characters, the newest at the right. The full bar is `full`, or the largest value if that is more. */
export function sparkline({ values }: History, full: number, width: number): string {
  const shown = values.slice(-width);
  const top = Math.max(full, ...shown, Number.MIN_VALUE);
  const bars = shown.map(
    (value) => BARS[Math.min(BARS.length - 1, Math.floor((value / top) * BARS.length))] ?? " ",
  );
  return bars.join("").padStart(width);
}
