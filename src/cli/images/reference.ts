// Names of images as people write them, and in full (distribution/reference): "redis" is docker.io/library/redis:latest.
import { Problem, USAGE } from "../text/problem.ts";

const DEFAULT_DOMAIN = "docker.io";
const OFFICIAL = "library/";
const PATH = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const DOMAIN =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$/;
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const MAX_NAME = 255;

/** The name in full, with its tag or digest. Throws a Problem that says what is wrong with it. */
export function fullName(text: string): string {
  const refuse = (what: string): never => {
    throw new Problem(`${text}: no name of an image: ${what}`, USAGE);
  };
  const at = text.indexOf("@");
  const [named, digest] = at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
  if (digest !== undefined && !DIGEST.test(digest)) refuse("the digest is not of the form sha256:HEX");
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const [name, tag] = hasTag ? [named.slice(0, colon), named.slice(colon + 1)] : [named, undefined];
  if (tag !== undefined && !TAG.test(tag)) refuse("the tag may have letters, digits, dots and dashes");
  const [first = "", ...rest] = name.split("/");
  const isDomain =
    rest.length > 0 && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const domain = isDomain ? first : DEFAULT_DOMAIN;
  const path = isDomain ? rest.join("/") : name;
  if (!DOMAIN.test(domain)) refuse("the registry is no host name");
  if (!PATH.test(path))
    refuse(path === path.toLowerCase() ? "the path is malformed" : "it must be in lower case");
  if (path.length > MAX_NAME) refuse(`it is longer than ${MAX_NAME} characters`);
  const whole = `${domain}/${domain === DEFAULT_DOMAIN && !path.includes("/") ? OFFICIAL : ""}${path}`;
  const tagged = tag === undefined && digest === undefined ? ":latest" : tag === undefined ? "" : `:${tag}`;
  return `${whole}${tagged}${digest === undefined ? "" : `@${digest}`}`;
}

/** As people write it. */
export function shortName(name: string): string {
  const official = `${DEFAULT_DOMAIN}/${OFFICIAL}`;
  if (name.startsWith(official)) return name.slice(official.length);
  return name.startsWith(`${DEFAULT_DOMAIN}/`) ? name.slice(DEFAULT_DOMAIN.length + 1) : name;
}

/** The same; undefined for what is no name. */
export function fullNameOrNone(text: string): string | undefined {
  try {
    return fullName(text);
  } catch {
    return undefined;
  }
}
