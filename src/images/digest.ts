// Digests as OCI writes them: "sha256:" and 64 hex digits. Content is kept under SHA-256 alone, as containerd keeps it.
import { Code, TtrpcError } from "../ttrpc/status.ts";

const PATTERN = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]+$/;
const SHA256 = /^sha256:([0-9a-f]{64})$/;
/** Hex digits by algorithm, of those that OCI registers. */
const KNOWN: Readonly<Record<string, number>> = { sha256: 64, sha384: 96, sha512: 128 };

/** The hex digits of a SHA-256 digest, safe as a file's name. Throws INVALID_ARGUMENT in go-digest's words. */
export function hexOf(digest: string): string {
  const hex = SHA256.exec(digest)?.[1];
  if (hex !== undefined) return hex;
  throw new TtrpcError(
    Code.INVALID_ARGUMENT,
    `${JSON.stringify(digest)}: ${fault(digest)}: invalid argument`,
  );
}

function fault(digest: string): string {
  if (!PATTERN.test(digest)) return "invalid checksum digest format";
  const [algorithm = "", hex = ""] = digest.split(":");
  const length = KNOWN[algorithm];
  if (length === undefined || algorithm !== "sha256") return "unsupported digest algorithm";
  return hex.length === length ? "invalid checksum digest format" : "invalid checksum digest length";
}
