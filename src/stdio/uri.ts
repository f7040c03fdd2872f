// A stdio URI taken apart as RFC 3986 has it, and as containerd's shims (Go's net/url) read it.

export interface StdioUri {
  /** In lower case; empty for a plain path. */
  readonly scheme: string;
  /** Absolute and decoded; a plain path is as it was given. */
  readonly path: string;
  /** The query's names and values in their order, decoded; a name without "=" has no value. */
  readonly query: readonly (readonly [name: string, value: string | undefined])[];
}

/**
 * A text that begins with no scheme is a path, every character of it. In a URI an authority is no part of the path (as in containerd: this
 * machine is meant, whatever the host's name), and neither is a fragment. Throws if a URI has no absolute path or is malformed.
 */
export function parseUri(uri: string): StdioUri {
  const colon = schemeEnd(uri);
  if (colon < 0) return { scheme: "", path: uri, query: [] };
  const [hierarchy, query] = cut(cut(uri.slice(colon + 1), "#")[0], "?");
  const path = decode(withoutAuthority(hierarchy), uri);
  if (!path.startsWith("/")) throw new Error(`invalid stdio URI ${uri}: no absolute path`);
  if (path.includes("\0")) throw new Error(`invalid stdio URI ${uri}: NUL in the path`);
  return { scheme: uri.slice(0, colon).toLowerCase(), path, query: parseQuery(query, uri) };
}

/** The place of the colon that ends a scheme; -1 if there is none. */
function schemeEnd(uri: string): number {
  const colon = uri.indexOf(":");
  for (let i = 0; i < colon; i++) {
    const character = uri.charAt(i).toLowerCase();
    const isLetter = character >= "a" && character <= "z";
    if (!isLetter && (i === 0 || !"0123456789+-.".includes(character))) return -1;
  }
  return colon > 0 ? colon : -1;
}

function withoutAuthority(hierarchy: string): string {
  if (!hierarchy.startsWith("//")) return hierarchy;
  const slash = hierarchy.indexOf("/", 2);
  return slash < 0 ? "" : hierarchy.slice(slash);
}

function parseQuery(query: string | undefined, uri: string): StdioUri["query"] {
  if (query === undefined) return [];
  const pairs = query.split("&").filter((pair) => pair !== "");
  return pairs.map((pair) => {
    const [name, value] = cut(pair, "=").map((part) => part && decode(part.replaceAll("+", " "), uri));
    return [name ?? "", value];
  });
}

/** What stands before and after the first `mark`. */
function cut(text: string, mark: string): [before: string, after: string | undefined] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function decode(text: string, uri: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error(`invalid stdio URI ${uri}: bad percent-encoding`);
  }
}
