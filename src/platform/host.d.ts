// What the native host (native/*.c) offers to src/platform, its only caller. Mechanism only: files, sockets, processes and bytes.
//
// Rules that hold for every function
// - A failed system call throws an Error with `code` ("ENOENT"), `syscall` ("openat") and, where one is at hand, `path`;
//   its message reads "openat /x: No such file or directory". Where "would block" is an ordinary answer, it is a return value, as said below.
// - Every descriptor made here is close-on-exec, and non-blocking where it can be polled. Descriptors are plain numbers owned by the caller,
//   who closes them; the host never closes what it was given, except where said.
// - A callback is held until its watch, timer or relay ends. Promise jobs run after each callback, before the next one.
// - Byte arguments are read before the call returns; byte results are fresh and belong to the caller.

declare module "holdfast:host" {
  // --- loop ---------------------------------------------------------------------------------------------------------

  export const READABLE: number;
  export const WRITABLE: number;
  /** Exceptional condition (EPOLLPRI), such as a change of a cgroup v2 events file. */
  export const PRIORITY: number;
  /** Peer hung up or error; always reported, never asked for. */
  export const HANGUP: number;
  /** Told once when more has come, not as long as something is there (EPOLLET). */
  export const EDGE: number;

  /** Watches `fd` (level-triggered) and calls back with the union of the ready bits. Watching again replaces events and callback. */
  export function watch(fd: number, events: number, ready: (events: number) => void): void;
  /** Ends a watch; must come before close(fd). Not watched: nothing happens. Safe inside any callback. */
  export function unwatch(fd: number): void;
  /** Calls `fire` once after `ms` milliseconds. Returns an id that is never used again. */
  export function setTimer(ms: number, fire: () => void): number;
  export function clearTimer(id: number): void;
  /**
   * Blocks the given signals, the C library's own two (32, 33) too, and reports them through a signalfd. Children get an empty mask and every
   * signal's default, whatever the host's starter had blocked or ignored.
   */
  export function onSignals(signals: readonly number[], receive: (signal: number) => void): void;
  /** Receives every exception that leaves a callback and every promise rejection that nobody handled. Without it, the host prints and aborts. */
  export function onUncaught(receive: (error: unknown) => void): void;
  export function monotonicMs(): number;
  export function realtimeNs(): bigint;
  /** Collects garbage and gives free heap pages back to the kernel. */
  export function trimMemory(): void;
  /** Heap figures in bytes: what the engine has allocated, and how many objects it holds. */
  export function memoryUsage(): { allocated: number; objects: number };

  // --- this process -------------------------------------------------------------------------------------------------

  export const argv: string[];
  export function environment(): Record<string, string>;
  export function pid(): number;
  export function parentPid(): number;
  export function effectiveUid(): number;
  /** Raises the soft limit of open files to the hard one. Children get the limit that was there before. */
  export function raiseFileLimit(): void;
  export function workingDirectory(): string;
  /** Ends the process at once, without running anything further. */
  export function exit(code: number): never;
  /** Forks without exec. Returns 0 in the child, whose loop is its own: watches, timers and signals set before the fork carry over. */
  export function fork(): number;
  /** Puts this process's group on cores of its own (PR_SCHED_CORE_CREATE); children inherit it. EINVAL if the kernel cannot. */
  export function createSchedulingCore(): void;
  export function newSession(): void;
  export function becomeSubreaper(): void;

  // --- the keeper: see native/keeper.c --------------------------------------------------------------------------------

  export interface Keeper {
    /** 0 without a keeper, in a process that goes on after an execution. */
    readonly pid: number;
    /** Whether this process goes on where another one was: all that it had open is open. */
    readonly resumed: boolean;
    /** Whether this process is the first of a program that took another one's place. */
    readonly isExecuted: boolean;
    /** How many of them have died. */
    readonly deaths: number;
    /** How many programs could not be executed, or did not go on. */
    readonly failedExecutions: number;
    /** A file in memory that outlives this process. */
    readonly state: number;
    /** Readable when a process that fell to the keeper has ended. */
    readonly poke: number;
    /** Descriptors of the host's own, -1 for none. */
    readonly own: readonly number[];
  }
  /** null in a process that has no keeper and never had. */
  export function keeper(): Keeper | null;
  /** Who ran the program, whatever has forked since. */
  export function starterPid(): number;
  /** Lets the process go that was run, with status 0: whoever ran it goes on. From here on the keeper makes this process's death good. */
  export function started(): void;
  export interface KeptExit extends Exit {
    /** Realtime, in ns. */
    readonly at: bigint;
  }
  /** An exit that the keeper has handed on and nobody has taken, counted from the oldest; null if there are not so many. */
  export function keptExit(place: number): KeptExit | null;
  export function takeKeptExits(count: number): void;
  /** The descriptor of the state; it is made where there is no keeper that has made it. */
  export function prepareState(): number;
  /** Replaces this process by the program behind a descriptor, which goes on with everything that is open; as a keeper with a child that serves, or itself. */
  export function execute(program: number, keeps: boolean): never;
  /** Ends this process and has the keeper execute the program. */
  export function haveExecuted(program: number): never;

  // --- failpoints: see native/failpoint.c -----------------------------------------------------------------------------

  /** Whether the environment has one for this process. */
  export function hasFailpoint(): boolean;
  /** Ends, stops or fails this process, by an Error, if it is to be so at the place of that name. */
  export function failpoint(name: string): void;

  // --- bytes --------------------------------------------------------------------------------------------------------

  export function encodeUtf8(text: string): Uint8Array;
  /** Malformed input becomes U+FFFD. */
  export function decodeUtf8(bytes: Uint8Array): string;
  /** SHA-256 in lower-case hex. */
  export function sha256(bytes: Uint8Array): string;
  /**
   * Keys and contents by turns, as bytes with their length and checksum before them (docs/state.md). Without content a record is gone. Throws a RangeError
   * for a key of more than 65,535 bytes.
   */
  export function recordBatch(entries: readonly (string | Uint8Array | undefined)[]): Uint8Array;

  // --- descriptors and files ----------------------------------------------------------------------------------------

  export const O_RDONLY: number;
  export const O_WRONLY: number;
  export const O_RDWR: number;
  export const O_PATH: number;
  export const O_NOFOLLOW: number;
  export const O_CREAT: number;
  export const O_EXCL: number;
  export const O_TRUNC: number;
  export const O_APPEND: number;
  export const O_NONBLOCK: number;
  export const O_DIRECTORY: number;

  export interface Stat {
    readonly kind: "file" | "directory" | "fifo" | "socket" | "symlink" | "character" | "block";
    readonly mode: number;
    readonly uid: number;
    readonly gid: number;
    readonly size: number;
    readonly device: number;
    readonly inode: number;
  }

  export function open(path: string, flags: number, mode?: number): number;
  /** Ends a watch that is still there. EBUSY, and nothing is closed, while a relay uses it. */
  export function close(fd: number): void;
  /** Up to `max` bytes; empty at end of file; null if nothing is there now. */
  export function read(fd: number, max: number): Uint8Array | null;
  /** Bytes written, or -1 if nothing can be written now. */
  export function write(fd: number, bytes: Uint8Array): number;
  /** The next read and write end of a fresh pipe, both non-blocking. */
  export function pipe(): [readEnd: number, writeEnd: number];
  /** Sets or clears O_NONBLOCK of the open file. */
  export function setNonBlocking(fd: number, on: boolean): void;
  /** A second descriptor of the same open file. */
  export function duplicate(fd: number): number;
  /** Makes `to` a copy of `from` (dup2); `to` is then not close-on-exec if it is 0, 1 or 2. */
  export function duplicateTo(from: number, to: number): void;
  /** Bytes that a read of this pipe, fifo or socket would find now. */
  export function readableBytes(fd: number): number;
  /** Whether the other end of this pipe or fifo is open nowhere (poll says POLLERR on a write end, POLLHUP on a read end). */
  export function peerClosed(fd: number): boolean;
  /** Asks for so much room in a pipe or fifo. EPERM if this user may not have it. */
  export function setPipeCapacity(fd: number, bytes: number): void;
  export function eventFd(): number;
  /** A file that lives in memory, empty (memfd_create). */
  export function memoryFile(name: string): number;

  /** The whole file, at most `max` bytes; a longer one throws EFBIG. */
  export function readFile(path: string, max: number): Uint8Array;
  /** Without following a final symlink. null if there is no such file. */
  export function statPath(path: string): Stat | null;
  export function statFd(fd: number): Stat;
  export function makeDirectory(path: string, mode: number): void;
  export function removeDirectory(path: string): void;
  export function unlink(path: string): void;
  export function rename(from: string, to: string): void;
  export function listDirectory(path: string): string[];
  export function chownFd(fd: number, uid: number, gid: number): void;

  // --- processes ----------------------------------------------------------------------------------------------------

  export interface SpawnRequest {
    readonly argv: readonly string[];
    /** File to execute, searched on PATH of `env` when it has no slash; argv[0] if absent. */
    readonly file?: string;
    /** "NAME=value" entries; this process's own environment if absent. */
    readonly env?: readonly string[];
    readonly cwd?: string;
    /** The child's descriptors by index: element 0 becomes its fd 0, and so on; -1 is /dev/null. Everything else is closed by exec. They are made blocking-agnostic: flags are left as they are. */
    readonly fds: readonly number[];
    /** Written to the child's /proc/self/oom_score_adj before exec; a refusal is ignored. */
    readonly oomScoreAdj?: number;
    readonly newSession?: boolean;
    /** Signal the child gets when this process dies (PR_SET_PDEATHSIG). */
    readonly deathSignal?: number;
    /**
     * What else it inherits; limits are [RLIMIT_ number, soft, hard], -1 for unlimited. With this field it also gets SCHED_OTHER, every processor, and no
     * I/O priority, memory policy, personality or PR_SET_THP_DISABLE. What is refused stays as it is, and a hard limit that cannot be raised bounds the soft one.
     */
    readonly surroundings?: {
      readonly umask: number;
      readonly nice: number;
      readonly timerSlackNs: number;
      readonly coredumpFilter: number;
      readonly limits: readonly (readonly [resource: number, soft: number, hard: number])[];
    };
  }
  export interface Exit {
    readonly pid: number;
    /** Exit code, or 128 + signal. */
    readonly status: number;
    /** Terminating signal, or 0. */
    readonly signal: number;
  }

  /** Starts a process. A failure before or in exec comes back over a close-on-exec pipe and throws here, with the step as `syscall`; no child is left then. */
  export function spawn(request: SpawnRequest): { pid: number; pidfd: number };
  /** A pidfd, readable when the process has exited; also of a zombie, and of a process that is not our child. */
  export function openPidfd(pid: number): number;
  /** Reaps the child behind a pidfd; null while it runs. ECHILD if it is not (or no longer) ours to reap. With `leave` it only looks: the child stays. */
  export function reapPidfd(pidfd: number, leave?: boolean): Exit | null;
  /** Reaps any one exited child; null if there is none. With `leave` it only looks, and finds the same one the next time. */
  export function reapAny(leave?: boolean): Exit | null;
  export function reapPid(pid: number): void;
  /** How a process ended that is no child of ours and has been reaped (PIDFD_GET_INFO); its pid is 0. null if the kernel does not tell: before Linux 6.15. */
  export function pidfdExit(pidfd: number): Exit | null;
  export function killPidfd(pidfd: number, signal: number): void;
  /** A descriptor of the same open file as descriptor `fd` of another process (pidfd_getfd). EBADF if it has none of that number. */
  export function takeDescriptor(pidfd: number, fd: number): number;

  // --- sockets and terminals ----------------------------------------------------------------------------------------

  /** Listens on a unix socket; the file is made with `mode`, whatever the umask. EADDRINUSE if the path exists. */
  export function listen(path: string, mode: number): number;
  /** A connection, or -1 if none waits. */
  export function accept(fd: number): number;
  /** Connects to a unix socket (the handshake does not block; EAGAIN if the listener's backlog is full). */
  export function connect(path: string): number;
  export function peerCredentials(fd: number): { pid: number; uid: number; gid: number };
  /** Receives up to `max` bytes and any descriptors passed along (at most 16, made non-blocking); null if nothing is there now. */
  export function receiveDescriptors(fd: number, max: number): { bytes: Uint8Array; fds: number[] } | null;
  /** What a read of this socket would find, and leaves it there; null if nothing is there now, empty at its end. */
  export function peek(fd: number, max: number): Uint8Array | null;
  /** Sends on a socket without SIGPIPE: bytes sent, or -1 if it would block. */
  export function send(fd: number, bytes: Uint8Array, offset: number): number;
  export function resizeTerminal(fd: number, columns: number, rows: number): void;
  /** The other side of a terminal's master, whatever mount namespace it lives in; never this process's controlling terminal. */
  export function openTerminalPeer(master: number): number;

  // --- mounts -------------------------------------------------------------------------------------------------------

  /** mount(2). `flags` are the MS_ bits; `data` the filesystem's own options. With `directory`, the call is made from inside it, so that relative paths in `data` resolve there. */
  export function mount(
    source: string,
    target: string,
    type: string,
    flags: number,
    data: string,
    directory?: string,
  ): void;
  /** umount2(2) with MNT_DETACH if `detach`, never following symlinks. */
  export function unmount(target: string, detach: boolean): void;
  /** A path descriptor of `path` as a process sees it whose root is `root` (openat2 with RESOLVE_IN_ROOT): no link leads out of it. The caller's. */
  export function openInRoot(root: string, path: string): number;
  /** A descriptor of a fresh user namespace with these mappings, in the form of /proc/PID/uid_map and gid_map. The caller's. */
  export function userNamespace(uidMap: string, gidMap: string): number;
  /**
   * Puts a copy of the mount at `source` (or of the part of it that begins there) at `target`, its owners mapped by the user namespace `userns`:
   * open_tree, mount_setattr with MOUNT_ATTR_IDMAP, move_mount. EINVAL if the file system cannot.
   */
  export function attachIdMapped(source: string, target: string, userns: number): void;
  /** Attaches `file` to a free loop device that frees itself with its last user; returns a descriptor that must stay open until it is mounted, and the device's path. */
  export function attachLoop(file: string, readOnly: boolean): { fd: number; path: string };

  // --- relay --------------------------------------------------------------------------------------------------------

  /**
   * Makes both non-blocking and moves bytes from `from` to `to` inside the loop, with splice(2) where both allow it and through a small buffer where not (terminals). A regular file is written to at its end, wherever it is opened.
   * A full `to` stops the reading of `from`; nothing is buffered beyond one chunk. While it lives it owns the watches (not the descriptors) of both.
   * `end` is called once, when `from` ends ("eof": also EIO of a terminal, when nobody has its other side open and everything is delivered), or a side failed ("read", "write" with the errno's name).
   * `moved` is how much it has moved in all. After a "write" end the chunk that could not be written is lost; the caller may start another relay from the same `from`.
   * With `full` it never ends by "write" but asks, losing nothing: when `to` takes no more now (`code` is ""), when its room is used up (""), or when it failed (the
   * errno's name). In there the relay may be redirected or stopped. If it is not, it waits until a full `to` has room; after the other two, until it is redirected.
   */
  export function startRelay(
    from: number,
    to: number,
    end: (why: "eof" | "read" | "write", code: string, moved: bigint) => void,
    full?: (code: string) => void,
  ): number;
  /** From now on the relay writes to `to`, at most `room` bytes where it is given; what was read and not written goes there first. The old `to` is not its any more. */
  export function redirectRelay(relay: number, to: number, room?: number): void;
  /** Ends a relay without calling `end`. */
  export function stopRelay(relay: number): void;
  export interface RelayState {
    /** Bytes moved so far. */
    readonly moved: bigint;
    /** Whether it waits for room in `to`, or for a redirect. */
    readonly blocked: boolean;
    /** How long it has moved nothing, in ms. */
    readonly idleMs: number;
  }
  /** Throws a RangeError once the relay has ended. */
  export function relayState(relay: number): RelayState;
}
