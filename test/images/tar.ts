// Archives made byte by byte, so that they can be wrong in every way.
import { gzipSync } from "node:zlib";

const BLOCK = 512;

export interface Entry {
  readonly name: string;
  /** As in the header: 0 file, 1 hard link, 2 symbolic link, 3 and 4 devices, 5 directory, 6 fifo. */
  readonly type?: string;
  readonly data?: string | Buffer;
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly major?: number;
  readonly minor?: number;
  /** Records of a pax header before it. */
  readonly pax?: Readonly<Record<string, string>>;
  /** Of the size field, in place of the data's own. */
  readonly size?: Buffer;
  /** Of the fields of user and group, in place of the numbers. */
  readonly owner?: Buffer;
}

/** The bytes of an archive, its end included. */
export function tar(entries: readonly Entry[]): Buffer {
  return Buffer.concat([...entries.map(entryBytes), Buffer.alloc(2 * BLOCK)]);
}

export const gzip = (entries: readonly Entry[]): Buffer => gzipSync(tar(entries));

export function entryBytes(entry: Entry): Buffer {
  const { pax } = entry;
  const before = pax === undefined ? [] : [plain({ name: "pax", type: "x", data: paxRecords(pax) })];
  return Buffer.concat([...before, plain(entry)]);
}

function plain(entry: Entry): Buffer {
  const data = Buffer.from(entry.data ?? "");
  const header = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, length: number): void => {
    header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  };
  header.write(entry.name.slice(0, 100), 0);
  octal(entry.mode ?? (entry.type === "5" ? 0o755 : 0o644), 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(data.length, 124, 12);
  entry.size?.copy(header, 124);
  for (const at of [108, 116]) entry.owner?.copy(header, at);
  octal(entry.mtime ?? 1_700_000_000, 136, 12);
  header.write("        ", 148);
  header.write(entry.type ?? "0", 156);
  header.write((entry.link ?? "").slice(0, 100), 157);
  header.write("ustar\x0000", 257, "latin1");
  octal(entry.major ?? 0, 329, 8);
  octal(entry.minor ?? 0, 337, 8);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return Buffer.concat([header, data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);
}

/** "LENGTH KEY=VALUE\n", where the length counts itself. */
function paxRecords(records: Readonly<Record<string, string>>): Buffer {
  const texts = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.byteLength(` ${key}=${value}\n`);
    let length = rest + String(rest).length;
    if (String(length).length > String(rest).length) length = rest + String(length).length;
    return `${length} ${key}=${value}\n`;
  });
  return Buffer.from(texts.join(""));
}

/** A long name in GNU's way: an entry of its own. */
export function gnuLongName(name: string): Buffer {
  return plain({ name: "././@LongLink", type: "L", data: `${name}\0` });
}
