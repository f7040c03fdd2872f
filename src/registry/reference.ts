// A reference as clients give it to a registry: in full, host/path[:tag][@digest] (the distribution specification's grammar). Shorter names are made
// full by the command line.
import { Code, TtrpcError } from "../ttrpc/status.ts";

const HOST =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?$/;
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^\w[\w.-]{0,127}$/;
export const DIGEST: RegExp = /^sha256:[0-9a-f]{64}$/;
const MAX_REPOSITORY = 255;

export interface Reference {
  /** As it was given. */
  readonly text: string;
  /** host[:port] of the registry, as users call it. */
  readonly host: string;
  readonly repository: string;
  /** At least one of the two is there. */
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/** Throws INVALID_ARGUMENT, and says why. */
export function parseReference(text: string): Reference {
  const refuse = (why: string): never => {
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      `reference ${JSON.stringify(text.slice(0, 300))}: ${why}: invalid argument`,
    );
  };
  const at = text.indexOf("@");
  const [named, digest] = at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
  const slash = named.indexOf("/");
  if (slash < 0) refuse("no registry in it: give host/path:tag");
  const host = named.slice(0, slash);
  const rest = named.slice(slash + 1);
  const colon = rest.lastIndexOf(":");
  const [repository, tag] = colon < 0 ? [rest, undefined] : [rest.slice(0, colon), rest.slice(colon + 1)];
  if (!HOST.test(host)) refuse(`${JSON.stringify(host)} is no registry`);
  if (!REPOSITORY.test(repository) || repository.length > MAX_REPOSITORY)
    refuse(`${JSON.stringify(repository)} is no repository`);
  if (tag !== undefined && !TAG.test(tag)) refuse(`${JSON.stringify(tag)} is no tag`);
  if (digest !== undefined && !DIGEST.test(digest))
    refuse(`${JSON.stringify(digest)} is no digest of sha256`);
  if (tag === undefined && digest === undefined) refuse("neither tag nor digest");
  return { text, host, repository, tag, digest };
}
