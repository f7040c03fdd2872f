// What a parser in TypeScript is to the fuzzer: what it is fed with, and what it may answer.
import { join } from "node:path";
import { cache } from "../../../scripts/cache.ts";

export interface ParserTarget {
  readonly name: string;
  /** One line, for the list. */
  readonly what: string;
  /** Inputs to begin with: as they come in real life, and as they have gone wrong before. */
  seeds(): readonly Uint8Array[];
  /** Pieces that its inputs are made of. */
  readonly words?: readonly string[];
  /** Takes one input. Throws what is wrong with the parser, never what the parser says against its input. */
  run(input: Uint8Array): void | Promise<void>;
}

/** Where this process's targets put files. */
export function filesDirectory(): string {
  return join(cache, "fuzz", `files-${process.pid}`);
}

export const utf8 = (text: string): Uint8Array => Buffer.from(text);
export const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** What `parse` returns; undefined if it throws what it may throw. */
export function orRefusal<T>(parse: () => T, mayBe: (error: unknown) => boolean): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (mayBe(error)) return undefined;
    throw error;
  }
}

/** An Error of a parser's own. Those of the language say that the parser did not look. */
export function isWords(error: unknown): boolean {
  return (
    error instanceof Error &&
    !(error instanceof TypeError) &&
    !(error instanceof RangeError) &&
    !(error instanceof ReferenceError) &&
    !/undefined|\[object|NaN/.test(error.message)
  );
}

/** What a protobuf reader says of bytes that are no message. */
export function isMalformed(error: unknown): boolean {
  return error instanceof RangeError || isWords(error);
}
