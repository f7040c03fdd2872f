// node:crypto as far as the command line uses it.
import * as host from "holdfast:host";
import { goOnInNode } from "./go-on.ts";

export function randomBytes(length: number): Buffer {
  return Buffer.from(host.randomBytes(length));
}

/** Of what is small enough to be held. */
class Sha256 {
  readonly #parts: Buffer[] = [];

  update(part: string | Uint8Array): this {
    this.#parts.push(Buffer.from(part as Uint8Array));
    return this;
  }

  digest(encoding: "hex"): string {
    if (encoding !== "hex") goOnInNode(`a digest in ${encoding}`);
    return host.sha256(Buffer.concat(this.#parts));
  }
}

export function createHash(algorithm: string): Sha256 {
  return algorithm === "sha256" ? new Sha256() : goOnInNode(algorithm);
}
