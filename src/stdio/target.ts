// Where a stdout or stderr goes (docs/shim-protocol.md, section 4).
import type { Platform } from "../platform/platform.ts";
import { parseUri, type StdioUri } from "./uri.ts";

/** A program that is to take the output. */
export interface LoggerTarget {
  readonly kind: "logger";
  readonly uri: string;
  readonly program: string;
  readonly args: readonly string[];
  /** Whether only a byte says that it is ready; the end of the descriptor does so too otherwise. */
  readonly mustSpeak: boolean;
}

export type Target =
  | { readonly kind: "none" }
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "fifo"; readonly path: string }
  | LoggerTarget;

/**
 * What a stdout or stderr URI means. A path without a scheme is taken for what is there: a fifo, or a file to append to.
 * Throws if the URI is malformed or its scheme is not known, or a plain path names nothing.
 */
export function parseTarget(platform: Platform, uri: string): Target {
  if (uri === "") return { kind: "none" };
  const parsed = parseUri(uri);
  const { scheme, path } = parsed;
  switch (scheme) {
    case "":
    case "fifo": {
      const stat = platform.files.stat(path);
      if (stat === null) throw new Error(`open ${path}: no such file or directory`);
      return { kind: stat.kind === "fifo" ? "fifo" : "file", path };
    }
    case "file":
      return { kind: "file", path };
    case "binary":
    case "binary-v2":
      return {
        kind: "logger",
        uri,
        program: path,
        args: argumentsOf(parsed),
        mustSpeak: scheme === "binary-v2",
      };
    default:
      throw new Error(`unknown STDIO scheme ${scheme} in ${uri}`);
  }
}

/** What an output that is open already goes to, if it is no program: its path may name something else by now, as when a log was moved away. */
export function openTarget({ fds }: Platform, path: string, sink: number): Exclude<Target, LoggerTarget> {
  if (sink < 0) return { kind: "none" };
  return { kind: fds.stat(sink).kind === "fifo" ? "fifo" : "file", path };
}

function argumentsOf({ query }: StdioUri): string[] {
  return query.flatMap(([name, value]) => (value === undefined ? [name] : [name, value]));
}
