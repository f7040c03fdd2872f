// Cases of the engine's memory: blocks of every small size come and go.
import * as host from "holdfast:host";
import { report } from "./report.ts";

interface Piece {
  readonly object: Record<string, number>;
  readonly text: string;
  readonly list: readonly number[];
  readonly number: () => number;
  readonly bytes: Uint8Array;
}

function makePiece(number: number): Piece {
  const object: Record<string, number> = {};
  for (let name = 0; name < number % 12; name++) object[`property${name}`] = number;
  return {
    object,
    text: `${"x".repeat(number % 90)}${number}`,
    list: Array.from({ length: number % 15 }, () => number),
    number: () => number,
    bytes: new Uint8Array(number % 200).fill(number),
  };
}

function isWhole(piece: Piece, number: number): boolean {
  const names = Object.values(piece.object);
  return (
    names.length === number % 12 &&
    names.every((value) => value === number) &&
    piece.text === `${"x".repeat(number % 90)}${number}` &&
    piece.list.length === number % 15 &&
    piece.list.every((value) => value === number) &&
    piece.number() === number &&
    piece.bytes.length === number % 200 &&
    piece.bytes.every((value) => value === number % 256)
  );
}

export const memoryCases = {
  /** Of many pieces every third goes, and others take their place, again and again; in the end all of them are looked at. */
  churn(count: string): void {
    const pieces = Array.from({ length: Number(count) }, (_, index) => makePiece(index));
    for (let round = 0; round < 9; round++) {
      for (let i = round % 3; i < pieces.length; i += 3) pieces.splice(i, 1, makePiece(i));
      if (round % 4 === 0) host.trimMemory();
    }
    report(pieces.filter((piece, index) => !isWhole(piece, index)).length);
  },
};
