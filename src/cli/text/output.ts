// What becomes of what we print: a reader that goes away ends us quietly, a disk that is full with a word and status 1.
import { writeSync } from "node:fs";
import { Writable } from "node:stream";
import { isSystemError } from "../../platform/platform.ts";
import { FAILED, systemText } from "./problem.ts";
import { complain } from "./screen.ts";

const STDOUT = 1;
/** As SIGPIPE would end us. */
export const NO_READER = 141;

/** To be called before anything is printed. */
export function watchOutput(): void {
  // Node writes to a file once and takes what is not written of a full disk for written.
  if (isFile(process.stdout)) Object.defineProperty(process, "stdout", { value: new FileOutput() });
  process.stdout.on("error", outputFailed);
  // Nobody is left whom one could tell.
  process.stderr.on("error", () => {});
}

/** Resolves when all that was printed is out; does not return if it cannot be. Of what is said on stderr nobody is told that it cannot. */
export async function outputDone(): Promise<void> {
  await printed();
  if (process.stderr.errored === null)
    await new Promise<void>((resolve) => process.stderr.write("", () => resolve()));
}

function printed(): Promise<void> {
  return new Promise((resolve) => {
    // Its error event comes, or has come, by itself.
    if (process.stdout.errored !== null) {
      setImmediate(resolve);
      return;
    }
    process.stdout.write("", (error) => (error == null ? resolve() : outputFailed(error)));
  });
}

/** Somebody else who listens knows better what to do: a session has a process to end first. */
function outputFailed(error: Error): void {
  if (process.stdout.listenerCount("error") > 1) return;
  if (isSystemError(error, "EPIPE")) process.exit(NO_READER);
  complain(`cannot write the output: ${systemText(error)}`);
  process.exit(FAILED);
}

/** Files, and devices that are no terminal, have no handle that waits. */
function isFile(stream: NodeJS.WriteStream & { _handle?: unknown }): boolean {
  return stream._handle === undefined || stream._handle === null;
}

/** Stdout that is a file: written at once and to the last byte. */
class FileOutput extends Writable {
  readonly fd: number = STDOUT;

  constructor() {
    super({ decodeStrings: true });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    try {
      for (let sent = 0; sent < chunk.length; ) sent += writeSync(STDOUT, chunk, sent);
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }
}
