// containerd's rules for names and labels (its identifiers/ and labels/). Checked wherever a client names something.
import { Code, TtrpcError } from "../ttrpc/status.ts";

const MAX_LENGTH = 76;
const PATTERN = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/;
const MAX_LABEL_BYTES = 4096;

/** Throws INVALID_ARGUMENT; `what` goes before the text, if it is not empty. Whatever passes is safe as one component of a path. */
export function validateIdentifier(what: string, id: string): void {
  const prefix = what === "" ? "" : `${what}: `;
  const refuse = (text: string): never => {
    throw new TtrpcError(Code.INVALID_ARGUMENT, `${prefix}${text}: invalid argument`);
  };
  if (id === "") refuse("identifier must not be empty");
  if (id.length > MAX_LENGTH)
    refuse(`identifier ${JSON.stringify(id)} greater than maximum length (${MAX_LENGTH} characters)`);
  if (!PATTERN.test(id)) refuse(`identifier ${JSON.stringify(id)} must match ${PATTERN.source}`);
}

/** Throws INVALID_ARGUMENT if a key and its value together are longer than 4096 bytes. */
export function validateLabels(what: string, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (Buffer.byteLength(key) + Buffer.byteLength(value) <= MAX_LABEL_BYTES) continue;
    const text = `${what}: label key and value greater than maximum size (${MAX_LABEL_BYTES} bytes), key: ${key.slice(0, 10)}`;
    throw new TtrpcError(Code.INVALID_ARGUMENT, `${text}: invalid argument`);
  }
}
