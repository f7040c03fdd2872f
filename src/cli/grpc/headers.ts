// Headers as HTTP/2 packs them (RFC 7541). What we send is never packed; a server does, so reading knows all of it.
import { decodeHuffman } from "./huffman.ts";

export type Header = readonly [name: string, value: string];

/** Appendix A, from index 1 on; "name value" where a value belongs to it. */
const STATIC: readonly Header[] = (
  ":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|:status 206|:status 304|" +
  ":status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate|accept-language|accept-ranges|accept|" +
  "access-control-allow-origin|age|allow|authorization|cache-control|content-disposition|content-encoding|content-language|content-length|" +
  "content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|" +
  "if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|" +
  "server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
  .split("|")
  .map((entry) => {
    const [, name = "", value = ""] = /^(\S+) ?(.*)$/.exec(entry) ?? [];
    return [name, value];
  });
/** What a header takes of the table beside its text. */
const OVERHEAD = 32;
/** How much of what came before is remembered; we ask for no other size. */
const TABLE_SIZE = 4096;
const MAX_SHIFT = 21;

/** Reads the header blocks of one connection, in their order: each may refer to what earlier ones have said. */
export class HeaderReader {
  /** The newest first. */
  readonly #table: Header[] = [];
  #size = 0;
  #limit: number = TABLE_SIZE;

  /** Throws for a block that makes no sense; the connection is of no use then. */
  read(block: Uint8Array): Header[] {
    const cursor = new Cursor(block);
    const headers: Header[] = [];
    while (!cursor.done) {
      const first = cursor.peek();
      if ((first & 0x80) !== 0) headers.push(this.#entry(cursor.integer(7)));
      else if ((first & 0xc0) === 0x40) {
        const header = this.#literal(cursor, 6);
        this.#remember(header);
        headers.push(header);
      } else if ((first & 0xe0) === 0x20) this.#resize(cursor.integer(5));
      else headers.push(this.#literal(cursor, 4));
    }
    return headers;
  }

  #literal(cursor: Cursor, bits: number): Header {
    const index = cursor.integer(bits);
    const name = index === 0 ? cursor.text() : this.#entry(index)[0];
    return [name, cursor.text()];
  }

  #entry(index: number): Header {
    const found = index <= STATIC.length ? STATIC[index - 1] : this.#table[index - STATIC.length - 1];
    if (found === undefined) throw new Error(`no header has the index ${index}`);
    return found;
  }

  #remember(header: Header): void {
    this.#table.unshift(header);
    this.#size += sizeOf(header);
    this.#forget();
  }

  #resize(limit: number): void {
    if (limit > TABLE_SIZE) throw new Error(`a header table of ${limit} bytes`);
    this.#limit = limit;
    this.#forget();
  }

  #forget(): void {
    while (this.#size > this.#limit) {
      const oldest = this.#table.pop();
      if (oldest === undefined) return;
      this.#size -= sizeOf(oldest);
    }
  }
}

function sizeOf([name, value]: Header): number {
  return name.length + value.length + OVERHEAD;
}

class Cursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  peek(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new Error("headers that are cut");
    return byte;
  }

  /** One that begins in the last `bits` bits of a byte. */
  integer(bits: number): number {
    const most = 2 ** bits - 1;
    let value = this.peek() & most;
    this.#at++;
    if (value < most) return value;
    for (let shift = 0; shift <= MAX_SHIFT; shift += 7) {
      const byte = this.peek();
      this.#at++;
      value += (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw new Error("a number too large in headers");
  }

  text(): string {
    const isPacked = (this.peek() & 0x80) !== 0;
    const length = this.integer(7);
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    if (bytes.length < length) throw new Error("headers that are cut");
    this.#at += length;
    return (isPacked ? decodeHuffman(bytes) : Buffer.from(bytes)).toString("latin1");
  }
}

/** Throws for a value that a header cannot hold. */
export function packHeaders(headers: readonly Header[]): Buffer {
  return Buffer.concat(headers.flatMap(([name, value]) => [LITERAL, ...packed(name), ...packed(value)]));
}

/** Neither packed nor remembered, with its name as text. */
const LITERAL: Uint8Array = Uint8Array.of(0);

function packed(text: string): readonly Uint8Array[] {
  if (!/^[ -~]*$/.test(text)) throw new Error(`a header cannot hold ${JSON.stringify(text)}`);
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length < 0x7f) return [Uint8Array.of(bytes.length), bytes];
  const length = [0x7f];
  let left = bytes.length - 0x7f;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) length.push((left & 0x7f) | 0x80);
  length.push(left);
  return [Uint8Array.from(length), bytes];
}
