// Columns in line, without frames, cut to the terminal's width.
import { type Colors, coloured, colouredCell, withinColour } from "./colors.ts";
import { clip, type Measured } from "./printable.ts";

const GAP = "  ";
/** No column is cut below so many characters; a table that is still too wide is left so. */
const MIN_WIDTH = 8;

/** Lines that a terminal may get, one for the head and one for each row. `columns`: of the terminal, if it is one. */
export function renderTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  colors: Colors,
  columns?: number,
): string {
  const lines = [head.map((title) => colors.bold(title)), ...rows];
  const cells = lines.map((line) => line.map(colouredCell));
  const wanted = widths(cells);
  const given = columns === undefined ? wanted : shrunk(wanted, columns);
  return lines.map((line, index) => rendered(line, cells[index] ?? [], given)).join("\n");
}

function widths(lines: readonly (readonly Measured[])[]): number[] {
  const found: number[] = [];
  for (const line of lines) {
    for (const [index, { width }] of line.entries()) found[index] = Math.max(found[index] ?? 0, width);
  }
  return found;
}

/** The widest columns give first. */
function shrunk(wanted: readonly number[], columns: number): number[] {
  const given = [...wanted];
  let over = given.reduce((sum, width) => sum + width, GAP.length * (given.length - 1)) - columns;
  while (over > 0) {
    const widest = Math.max(...given);
    if (widest <= MIN_WIDTH) break;
    const at = given.lastIndexOf(widest);
    // Down to the next widest, or as far as it takes.
    const next = Math.max(
      MIN_WIDTH,
      ...given.filter((_, index) => index !== at && (given[index] ?? 0) < widest),
    );
    const less = Math.min(over, Math.max(1, widest - next));
    given[at] = widest - less;
    over -= less;
  }
  return given;
}

/** The last column is not padded: no trailing spaces for whoever copies a line. */
function rendered(line: readonly string[], cells: readonly Measured[], given: readonly number[]): string {
  return cells
    .map(({ text, width: own }, index) => {
      const width = given[index] ?? 0;
      if (own <= width) return text + " ".repeat(width - own);
      return coloured(withinColour(line[index] ?? "", (whole) => clip(whole, width)));
    })
    .join(GAP)
    .trimEnd();
}
