// What a command says over a pipe, gathered while the loop goes on.
import type { Platform } from "../platform/platform.ts";

/** The bytes that come out of a pipe, as text, up to a bound; closes the read end when it is done. */
interface Collected extends Promise<string> {
  /** What has come until now. */
  soFar(): string;
  /** Stops reading and frees the pipe. Does nothing once the end was reached. */
  cancel(): void;
}

/** Collects all that is written to a pipe. More than `max` bytes are read, so that the writer does not block, and dropped. */
export function collect(platform: Platform, fd: number, max: number): Collected {
  const { fds, text } = platform;
  let collected = "";
  let size = 0;
  let open = true;
  let finish: (text: string) => void = () => {};
  const done = new Promise<string>((resolve) => {
    finish = resolve;
  });
  const cancel = (): void => {
    if (!open) return;
    open = false;
    fds.unwatch(fd);
    fds.close(fd);
    finish(collected);
  };
  const readSome = (): boolean => {
    const chunk = fds.read(fd, 16 << 10);
    if (chunk === null) return false;
    if (chunk.length === 0) {
      cancel();
      return false;
    }
    if (size < max) collected += text.decode(chunk.subarray(0, max - size));
    size += chunk.length;
    return true;
  };
  fds.watch(fd, readSome);
  const soFar = (): string => {
    while (open && readSome());
    return collected.trim();
  };
  return Object.assign(done, { soFar, cancel });
}
