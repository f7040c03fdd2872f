// Lines into a pipe that is never waited for: what nobody reads is dropped, and said when somebody reads again. For the fifo that daemons read a shim's log from.
import { OUR_RUNTIME } from "../api/runtime-names.ts";

/** `write` returns how many bytes it has written, -1 if it can write none now. */
export function lossyLines(
  write: (bytes: Uint8Array) => number,
  encode: (text: string) => Uint8Array,
): (line: string) => void {
  let dropped = 0;
  let isCut = false;
  return (line) => {
    const loss =
      dropped === 0 ? "" : `level=warning msg="lines were dropped" lines=${dropped} runtime=${OUR_RUNTIME}\n`;
    const bytes = encode(`${isCut ? "\n" : ""}${loss}${line}`);
    const written = write(bytes);
    if (written < 0) {
      dropped++;
      return;
    }
    isCut = written < bytes.length;
    dropped = 0;
  };
}
