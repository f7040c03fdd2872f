// The only I/O interface of the portable code. Everything the shim does to the outside world goes through a Platform that is passed in;
// quickjs.ts offers all of it over the native host, node.ts offers Clock and Net so that src/ttrpc also runs on Node.

/** Cancels something scheduled. Cancelling twice, or after it fired, does nothing. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds on a clock that never goes back. */
  monotonicMs(): number;
  /** Nanoseconds since 1970-01-01 UTC. */
  realtimeNs(): bigint;
  /** Calls `fire` once, `ms` milliseconds from now. */
  after(ms: number, fire: () => void): Timer;
}

/** What a failed system call tells. `code` is the errno's name, such as "ENOENT". */
export interface SystemError extends Error {
  readonly code: string;
  readonly syscall: string;
  readonly path?: string;
}

/** Whether `error` is a failed system call, and, where `code` is given, one that failed with that errno. */
export function isSystemError(error: unknown, code?: string): error is SystemError {
  if (!(error instanceof Error) || !("code" in error) || !("syscall" in error)) return false;
  return code === undefined || error.code === code;
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface StreamHandler {
  /**
   * In place of data(): what stands at the front of the input, whose bytes stay in the kernel until they are taken. Returns how many are; the rest is
   * shown again, with what comes after it.
   */
  take?(bytes: Uint8Array): number;
  /** Some bytes arrived. The chunk belongs to the handler. */
  data(chunk: Uint8Array): void;
  /** All that was queued by write() has been handed to the kernel. */
  drained(): void;
  /** The stream is over: the peer closed it, it failed (`error`), or close() was called. Called exactly once. */
  closed(error?: Error): void;
}

/** A connected byte stream, such as a unix socket. */
export interface ByteStream {
  /** The peer's credentials, where the platform can tell. */
  readonly peer: PeerCredentials | undefined;
  /** Bytes accepted by write() and not yet handed to the kernel. */
  readonly queued: number;
  /** The descriptor, where a successor of this process can find it again. */
  readonly fd?: number;
  /** Starts delivery; called once, before any write. */
  start(handler: StreamHandler): void;
  /** Sends all bytes in order, queueing what the kernel does not take now. The stream owns `bytes` from here on. A closed stream ignores it. */
  write(bytes: Uint8Array): void;
  /** Stops reading until resume(), so that the peer feels back-pressure. A closed peer may go unnoticed meanwhile. */
  pause(): void;
  resume(): void;
  /** Closes at once; what is still queued is dropped. */
  close(): void;
}

export interface Listener {
  close(): void;
}

export interface Net {
  /** Connects to a unix socket. Rejects with a SystemError. */
  connect(path: string): Promise<ByteStream>;
}

/** Net as the shim has it: a socket is bound by `start`, and served by the child that it forks. */
export interface ShimNet extends Net {
  /** Listens on a unix socket whose file has `mode`; returns the descriptor. EADDRINUSE if the path exists. */
  listen(path: string, mode: number): number;
  /**
   * Hands every connection of a listening descriptor to `accept`. While none can be taken, for want of descriptors or memory, it rests and tries
   * again now and then; `failed` is called once for each such time. Closing the listener closes the descriptor.
   */
  serve(fd: number, accept: (stream: ByteStream) => void, failed: (error: SystemError) => void): Listener;
  /** A connection that is there already. */
  adopt(fd: number): ByteStream;
  /** Whether somebody listens at `path`: also one that is busy, stopped, or about to die. Throws where that cannot be told. */
  answers(path: string): boolean;
  /** The first descriptor that a peer passes over a connection to the listening `fd`; closes the connection, not `fd`. */
  receiveDescriptor(fd: number, ms: number): Reception;
}

/** A descriptor that somebody is to pass. */
export interface Reception {
  /** Rejects when none came in time, and when it was cancelled. The receiver owns the descriptor. */
  readonly descriptor: Promise<number>;
  /** Waits no longer; to be called before the listener is closed. Does nothing once the promise has settled. */
  cancel(): void;
}

/** UTF-8. Decoding replaces malformed input by U+FFFD. */
export interface Text {
  encode(text: string): Uint8Array;
  decode(bytes: Uint8Array): string;
}

export interface Stat {
  readonly kind: "file" | "directory" | "fifo" | "socket" | "symlink" | "character" | "block";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly device: number;
  readonly inode: number;
}

/** The file system. All calls are synchronous and throw a SystemError. */
export interface Files {
  /** The whole file as text; EFBIG if it is longer than `max` bytes. */
  read(path: string, max?: number): string;
  /** Replaces or makes the file in one step: readers see the old or the new content, whole. */
  replace(path: string, content: string, mode: number): void;
  /** Writes to an existing file, such as one of procfs or cgroupfs. */
  write(path: string, content: string): void;
  readBytes(path: string, max: number): Uint8Array;
  /** Without following a final symlink; null if there is no such file. */
  stat(path: string): Stat | null;
  list(path: string): string[];
  makeDirectory(path: string, mode: number): void;
  /** Makes the directory and its missing parents. */
  makeDirectories(path: string, mode: number): void;
  rename(from: string, to: string): void;
  /** Removes a file; one that is not there is fine. */
  remove(path: string): void;
  /** Removes an empty directory. */
  removeDirectory(path: string): void;
}

/** Open descriptors, owned by the caller. All are close-on-exec and non-blocking where they can be polled. */
export interface Descriptors {
  openRead(path: string): number;
  openWrite(path: string): number;
  /** For appending; made with mode 0644 if it is not there. */
  openAppend(path: string): number;
  openDirectory(path: string): number;
  /** A pipe or fifo for both: whoever has it is a reader too, and never gets SIGPIPE. */
  openBoth(path: string): number;
  /** A new file, or one made empty, for reading and writing, its owner's alone; ELOOP for a symlink. */
  create(path: string): number;
  /** Only to look at it, or to open it by /proc/self/fd: nothing happens to what is there. */
  openPath(path: string): number;
  /** Of what is open. */
  stat(fd: number): Stat;
  /** For reading, and for being executed. */
  openProgram(path: string): number;
  close(fd: number): void;
  /** Closes a file that was open for a moment: nobody can see that, and no record names the descriptor, so nothing has to be written down first. */
  discard(fd: number): void;
  /** Up to `max` bytes; empty at end of file; null if nothing is there now. */
  read(fd: number, max: number): Uint8Array | null;
  /** Bytes written; -1 if nothing can be written now. */
  write(fd: number, bytes: Uint8Array): number;
  /** All bytes until end of file; blocks. */
  readToEnd(fd: number): Uint8Array;
  pipe(): [readEnd: number, writeEnd: number];
  /** Bytes that a read of this pipe would find now. */
  readable(fd: number): number;
  /** Whether nobody holds the other end of this pipe or fifo. */
  peerClosed(fd: number): boolean;
  /** Asks for so much room in a pipe or fifo. EPERM if this user may not have it. */
  setPipeCapacity(fd: number, bytes: number): void;
  setOwner(fd: number, uid: number, gid: number): void;
  /** A second descriptor of the same open file. */
  duplicate(fd: number): number;
  duplicateTo(from: number, to: number): void;
  eventFd(): number;
  /** A file that lives in memory. */
  memoryFile(name: string): number;
  /** Calls back whenever the descriptor can be read (or has hung up). One watch a descriptor; end it before close. */
  watch(fd: number, ready: () => void): void;
  /** The same when something can be written to it. */
  watchWritable(fd: number, ready: () => void): void;
  /** The same for an exceptional condition: the change of a cgroup v2 events file. */
  watchPriority(fd: number, ready: () => void): void;
  unwatch(fd: number): void;
}

/** What a child inherits beside descriptors, environment and signals. What is refused, for want of privilege, stays as it is. */
export interface Surroundings {
  readonly umask: number;
  readonly nice: number;
  readonly timerSlackNs: number;
  /** The bits of /proc/PID/coredump_filter. */
  readonly coredumpFilter: number;
  /** Resource limits by their numbers (RLIMIT_ in setrlimit(2)); -1 is unlimited. A hard limit that cannot be raised also bounds the soft one. */
  readonly limits: readonly (readonly [resource: number, soft: number, hard: number])[];
}

export interface SpawnRequest {
  readonly argv: readonly string[];
  readonly cwd?: string;
  /** "NAME=value" entries; this process's own environment if absent. */
  readonly env?: readonly string[];
  /** The child's descriptors by index, -1 for /dev/null; no others reach it. They are made blocking, for whoever else has them open too. */
  readonly fds: readonly number[];
  /** Written to the child's oom_score_adj before exec; a refusal is ignored. */
  readonly oomScoreAdj?: number;
  /** Signal the child gets when this process dies. */
  readonly deathSignal?: number;
  /** With it the child also gets the ordinary scheduling policy, every processor, and no I/O priority, memory policy or personality. */
  readonly surroundings?: Surroundings;
}

export interface Exit {
  readonly pid: number;
  /** Exit code, or 128 + signal. */
  readonly status: number;
  /** Terminating signal, or 0. */
  readonly signal: number;
}

export interface Processes {
  /** Starts a process; what fails before or in exec throws a SystemError and leaves no child. */
  spawn(request: SpawnRequest): { pid: number; pidfd: number };
  openPidfd(pid: number): number;
  /** Reaps the child behind a pidfd, or only looks; null while it runs; ECHILD if it is not ours. */
  reapPidfd(pidfd: number, leave?: boolean): Exit | null;
  /** Reaps any one exited child, or only looks; null if there is none. */
  reapAny(leave?: boolean): Exit | null;
  reapPid(pid: number): void;
  /** How a process ended that is no child of ours; null where that cannot be told. */
  pidfdExit(pidfd: number): Exit | null;
  killPidfd(pidfd: number, signal: number): void;
  /** A descriptor of what another process has open under a number. EBADF if it has nothing there. */
  takeDescriptor(pidfd: number, fd: number): number;
}

export interface Mounts {
  /** mount(2); with `directory`, relative paths in `data` resolve there. */
  mount(source: string, target: string, type: string, flags: number, data: string, directory?: string): void;
  /** umount2(2), detaching lazily if `detach`; EINVAL if nothing is mounted there. */
  unmount(target: string, detach: boolean): void;
  /** A path descriptor of what `path` is to a process whose root is `root`: no link leads out of it. */
  openInRoot(root: string, path: string): number;
  /** A user namespace with mappings in the form of /proc/PID/uid_map. */
  userNamespace(uidMap: string, gidMap: string): number;
  /** A copy of the mount at `source` at `target`, its owners mapped by a user namespace. */
  attachIdMapped(source: string, target: string, userns: number): void;
  /** A free loop device for `file`, freed with its last user; `fd` must stay open until it is mounted. */
  attachLoop(file: string, readOnly: boolean): { fd: number; path: string };
}

export type RelayEnd = (why: "eof" | "read" | "write", code: string, moved: bigint) => void;

export interface RelayState {
  /** Bytes moved so far. */
  readonly moved: bigint;
  /** Whether it waits for room in what it writes to, or for a redirect. */
  readonly blocked: boolean;
  /** How long it has moved nothing, in ms. */
  readonly idleMs: number;
}

/** Byte transport below the language: see startRelay in host.d.ts. */
export interface Relays {
  start(from: number, to: number, end: RelayEnd, full?: (code: string) => void): number;
  /** From now on it writes to `to`, at most `room` bytes where it is given. */
  redirect(relay: number, to: number, room?: number): void;
  /** Of a relay that has not ended. */
  state(relay: number): RelayState;
  stop(relay: number): void;
}

/** The process that starts this one again when it dies, and what it keeps for the next one (native/keeper.c). */
export interface Keeper {
  /** 0 in a process that has none and goes on after an execution. */
  readonly pid: number;
  /** Whether this process goes on where another one was: all that it had open is open. */
  readonly resumed: boolean;
  /** Whether this process is the first of a program that took another one's place. */
  readonly isExecuted: boolean;
  readonly deaths: number;
  readonly failedExecutions: number;
  /** The file of the state. */
  readonly state: number;
  /** Readable when there is an exit to take. */
  readonly poke: number;
  /** Descriptors that are the host's. */
  readonly own: readonly number[];
}

/** An exit of a process that fell to the keeper. */
export interface KeptExit extends Exit {
  readonly at: bigint;
}

export interface Keeping {
  /** null in a process that has no keeper and never had. */
  keeper(): Keeper | null;
  /** The start is over: who ran the program is let go, and the keeper begins to make deaths good. */
  started(): void;
  /** Exits that nobody has taken, counted from the oldest; null if there are not so many. */
  exit(place: number): KeptExit | null;
  takeExits(count: number): void;
  /** The file of the state, made where there is no keeper. */
  prepareState(): number;
  /** Replaces this process by a program, with everything open; as a keeper, or as it is. */
  execute(program: number, keeps: boolean): never;
  /** Ends this process; its keeper executes the program. */
  haveExecuted(program: number): never;
  /** Calls `hook` before everything that others can see: bytes sent, descriptors closed, programs run. */
  beforeEffects(hook: () => void): void;
  /** Does `work` with nothing written in it and no descriptor closed before it is over: what it changes is one step for whoever comes after this process. */
  asOne<T>(work: () => T): T;
}

/** The running process itself. */
export interface ThisProcess {
  readonly argv: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  pid(): number;
  parentPid(): number;
  /** Who ran the program, whatever has forked since. */
  starterPid(): number;
  effectiveUid(): number;
  /** Allows this process as many open files as it may have at most; its children get the limit that was there before. */
  raiseFileLimit(): void;
  workingDirectory(): string;
  exit(code: number): never;
  /** Forks without exec; 0 in the child. */
  fork(): number;
  /** Gives this process's group cores of its own, for its children too. EINVAL if the kernel cannot. */
  createSchedulingCore(): void;
  newSession(): void;
  becomeSubreaper(): void;
  /** Receives these signals instead of dying of them or stopping. Children are born with every signal's default. */
  onSignals(signals: readonly number[], receive: (signal: number) => void): void;
  onUncaught(receive: (error: unknown) => void): void;
  /** Collects garbage and gives free memory back to the kernel. */
  trimMemory(): void;
  /** What the engine holds: bytes, and how many objects. */
  memoryUsage(): { allocated: number; objects: number };
}

export interface Platform {
  readonly clock: Clock;
  readonly net: ShimNet;
  readonly text: Text;
  readonly files: Files;
  readonly fds: Descriptors;
  readonly processes: Processes;
  readonly mounts: Mounts;
  readonly relays: Relays;
  readonly self: ThisProcess;
  readonly keeping: Keeping;
  /** SHA-256 in lower-case hex. */
  sha256(data: string | Uint8Array): string;
  /** A batch of the state's file (state-log.ts): keys and contents by turns, undefined for a record that is gone. */
  recordBatch(entries: readonly (string | Uint8Array | undefined)[]): Uint8Array;
  resizeTerminal(fd: number, columns: number, rows: number): void;
  /** The other side of a terminal's master. */
  openTerminalPeer(master: number): number;
}

export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGKILL = 9;
export const SIGUSR1 = 10;
export const SIGTERM = 15;
export const SIGCHLD = 17;
