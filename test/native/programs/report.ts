// What a case tells the test: one JSON value a line on stdout.
import * as host from "holdfast:host";

export function report(value: unknown): void {
  let rest = host.encodeUtf8(`${JSON.stringify(value)}\n`);
  while (rest.length > 0) rest = rest.subarray(Math.max(host.write(1, rest), 0));
}

/** What `call` throws, with the fields of a system error, or what it returns. */
export function attempt(call: () => unknown): unknown {
  try {
    return { returned: call() ?? null };
  } catch (error) {
    if (!(error instanceof Error)) return { threw: String(error) };
    const { code, syscall, path } = error as { code?: string; syscall?: string; path?: string };
    return { threw: error.name, message: error.message, code, syscall, path };
  }
}

/** Runs a program to its end, for what the host itself does not do. */
export function command(...argv: string[]): void {
  const { pidfd } = host.spawn({ argv, fds: [-1, -1, 2] });
  let exit: host.Exit | null = null;
  while (exit === null) exit = host.reapPidfd(pidfd);
  host.close(pidfd);
  if (exit.status !== 0) throw new Error(`${argv.join(" ")}: ${exit.status}`);
}

/** Sends this process a signal. */
export function sendSignal(number: number): void {
  const pidfd = host.openPidfd(host.pid());
  host.killPidfd(pidfd, number);
  host.close(pidfd);
}

/** Reads until nothing is there now. */
export function readNow(fd: number): string {
  let text = "";
  for (let bytes = host.read(fd, 4096); bytes !== null && bytes.length > 0; bytes = host.read(fd, 4096)) {
    text += host.decodeUtf8(bytes);
  }
  return text;
}

/** The number of descriptors that this process has open. */
export function openDescriptors(): number {
  return host.listDirectory("/proc/self/fd").length - 1; // one is the listing's own
}

/** Processor time of this process in ms: exact, so that work shows also where many others want the processor. */
export function cpuMs(): number {
  const [ns] = host.decodeUtf8(host.readFile("/proc/self/schedstat", 4096)).split(" ");
  return Number(ns) / 1e6;
}

/** Resident memory of this process in KiB. */
export function residentKib(): number {
  const status = host.decodeUtf8(host.readFile("/proc/self/status", 8192));
  const line = status.split("\n").find((each) => each.startsWith("VmRSS:")) ?? "";
  return Number.parseInt(line.slice(6).trim(), 10);
}
