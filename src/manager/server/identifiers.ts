// containerd's rules for names and labels (its identifiers/ and labels/). Checked wherever a client names something.
import { Code, TtrpcError } from "../../ttrpc/status.ts";

const MAX_BYTES = 76;
const PATTERN = /^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$/;
const MAX_LABEL_BYTES = 4096;
/** How much of a key an error shows: enough to find it. */
const SHOWN_KEY_CHARACTERS = 10;

/** Throws INVALID_ARGUMENT; `what` goes before the text, if it is not empty. Whatever passes is safe as one component of a path. */
export function validateIdentifier(what: string, id: string): void {
  if (id === "") throw invalid(what, "identifier must not be empty");
  if (Buffer.byteLength(id) > MAX_BYTES) {
    throw invalid(
      what,
      `identifier ${JSON.stringify(id)} greater than maximum length (${MAX_BYTES} characters)`,
    );
  }
  if (!PATTERN.test(id)) {
    throw invalid(what, `identifier ${JSON.stringify(id)} must match ${PATTERN.source}`);
  }
}

/** Throws INVALID_ARGUMENT if a key and its value together are longer than 4096 bytes. */
export function validateLabels(what: string, labels: Readonly<Record<string, string>>): void {
  for (const [key, value] of Object.entries(labels)) {
    if (Buffer.byteLength(key) + Buffer.byteLength(value) <= MAX_LABEL_BYTES) continue;
    const shown = [...key].slice(0, SHOWN_KEY_CHARACTERS).join("");
    throw invalid(
      what,
      `label key and value greater than maximum size (${MAX_LABEL_BYTES} bytes), key: ${shown}`,
    );
  }
}

function invalid(what: string, text: string): TtrpcError {
  return new TtrpcError(Code.INVALID_ARGUMENT, `${what === "" ? "" : `${what}: `}${text}: invalid argument`);
}
