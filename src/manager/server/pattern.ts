// Regular expressions of filters: Go's (RE2, https://github.com/google/re2/wiki/Syntax), matched in time that grows with the text and no faster.
// JavaScript's own would let one client's filter, such as (a+)+b, stop the daemon.
import { RE2JS } from "re2js";

/** The time grows with the pattern too. */
const MAX_PATTERN_LENGTH = 4096;

export interface Pattern {
  /** Whether it matches somewhere in `text`. */
  test(text: string): boolean;
}

/** Throws an Error that shows `source` for what Go refuses, and for a pattern of more than 4096 characters. */
export function compilePattern(source: string): Pattern {
  if (source.length > MAX_PATTERN_LENGTH)
    throw new Error(`regular expression of ${source.length} characters: at most ${MAX_PATTERN_LENGTH}`);
  try {
    return RE2JS.compile(source);
  } catch (error) {
    const reason = (error instanceof Error ? error.message : String(error)).replace(
      "error parsing regexp: ",
      "",
    );
    throw new Error(`regular expression ${JSON.stringify(source)}: ${reason}`, { cause: error });
  }
}
