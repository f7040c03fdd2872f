// The size of the terminal that output goes to.
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** undefined without a terminal. */
export function terminalSize(): TerminalSize | undefined {
  const [columns, rows] = process.stdout.isTTY ? process.stdout.getWindowSize() : [];
  // A line that knows of no size, such as a serial one, says 0.
  return !columns || !rows ? undefined : { columns, rows };
}
