// Turns a source map into the plain table that scripts/bytecode.c reads. Called by build.ts.

interface SourceMap {
  readonly sources: readonly string[];
  readonly mappings: string;
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The table of scripts/bytecode.c: each place of the bundle with its source, as `name` writes it, and line. */
export function sourcePlaces(json: string, name: (source: string) => string): string {
  const map = JSON.parse(json) as SourceMap;
  const places: string[] = [];
  let source = 0;
  let sourceLine = 0;
  map.mappings.split(";").forEach((segments, line) => {
    let column = 0;
    for (const segment of segments.split(",")) {
      const [columnStep, sourceStep, lineStep] = decodeVlq(segment);
      if (columnStep === undefined) continue;
      column += columnStep;
      if (sourceStep === undefined || lineStep === undefined) continue;
      source += sourceStep;
      sourceLine += lineStep;
      places.push(`${line} ${column} ${source} ${sourceLine}`);
    }
  });
  return [
    `sources ${map.sources.length}`,
    ...map.sources.map(name),
    `places ${places.length}`,
    ...places,
    "",
  ].join("\n");
}

/** The numbers of one segment: base 64, five bits a digit, sign in the lowest bit of the whole. */
function decodeVlq(segment: string): number[] {
  const numbers: number[] = [];
  let value = 0;
  let shift = 0;
  for (const character of segment) {
    const digit = DIGITS.indexOf(character);
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    numbers.push(value & 1 ? -(value >>> 1) : value >>> 1);
    value = 0;
    shift = 0;
  }
  return numbers;
}
