// The Huffman code of HTTP/2 headers (RFC 7541, appendix B), for reading: we send text as it is.

/** The bits of each byte's code, and at the end those of the mark that no text contains. The codes follow: shorter ones first, by byte among equals. */
const LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
  28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
  8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
  13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
  28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
  22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
  22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
  25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
const MARK = 256;
const LONGEST = 30;

/** By length: the first code, the place of its byte in ORDER, and how many codes follow. */
interface Row {
  readonly first: number;
  readonly place: number;
  readonly count: number;
}

const ORDER: number[] = [];
const ROWS: Row[] = [];

function fillTable(): void {
  const bytes: number[][] = Array.from({ length: LONGEST + 1 }, () => []);
  for (const [byte, length] of LENGTHS.entries()) bytes[length]?.push(byte);
  let code = 0;
  for (const same of bytes) {
    ROWS.push({ first: code, place: ORDER.length, count: same.length });
    ORDER.push(...same);
    code = (code + same.length) * 2;
  }
}

/** Throws for what is not such a text. */
export function decodeHuffman(bytes: Uint8Array): Buffer {
  if (ROWS.length === 0) fillTable();
  const text: number[] = [];
  let code = 0;
  let length = 0;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + ((byte >> bit) & 1);
      length++;
      const row = ROWS[length];
      if (row === undefined) throw new Error("no such Huffman code");
      if (code - row.first >= row.count) continue;
      const found = ORDER[row.place + code - row.first] ?? MARK;
      if (found === MARK) throw new Error("a Huffman text with its mark of the end inside");
      text.push(found);
      code = 0;
      length = 0;
    }
  }
  // What fills up the last byte are the first bits of the mark: ones only, and less than a byte.
  if (length > 7 || code !== 2 ** length - 1) throw new Error("a Huffman text that is cut");
  return Buffer.from(text);
}
