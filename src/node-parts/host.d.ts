// What the native host of `holdfast` (native/front/*.c) offers beside the shim's (src/platform/host.d.ts), by the same rules.

declare module "holdfast:host" {
  /** As in Node's Stats. */
  export interface Status {
    /** The kind of the file too. */
    readonly mode: number;
    readonly uid: number;
    readonly gid: number;
    readonly size: number;
    readonly dev: number;
    readonly ino: number;
    readonly rdev: number;
    readonly nlink: number;
    readonly mtimeMs: number;
  }
  export function status(path: string, follow: boolean): Status;
  export function statusOf(fd: number): Status;
  export function changeMode(path: string, mode: number): void;
  export function makeFifo(path: string, mode: number): void;
  export function readLink(path: string): string;
  export function realPath(path: string): string;
  /** Makes a directory whose name takes the place of the six X at the end; returns its path. */
  export function makeTemporary(path: string): string;

  /** At most 256. */
  export function randomBytes(length: number): Uint8Array;
  export function userId(): number;
  export function groupId(): number;
  /** Returns the former one. */
  export function umask(mode: number): number;
  export function kernelRelease(): string;
  /** The processor that this program is made for, as Node calls it: "x64", "arm64". */
  export function architecture(): string;
  export function kill(pid: number, signal: number): void;
  /** Ends this process as a signal does that nobody listens to. */
  export function dieBy(signal: number): never;
  /** Goes on as another program under that name, with our arguments and environment as they came, and what is open but for descriptors of our own. */
  export function become(path: string, name: string): never;

  export function isTerminal(fd: number): boolean;
  /** null if it is none. */
  export function terminalSize(fd: number): { columns: number; rows: number } | null;
}
