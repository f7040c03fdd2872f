// Platform over the native host: the shim's only way to the outside. Called once, by cmd/shim/main.ts.
import * as host from "holdfast:host";
import { asOne, beforeEffect, useBeforeEffects, whenWritten } from "./effects.ts";
import { useFailpoints } from "./failpoint.ts";
import {
  type Descriptors,
  type Files,
  isSystemError,
  type Keeping,
  type Mounts,
  type Platform,
  type Reception,
  type ShimNet,
  type SpawnRequest,
  type ThisProcess,
} from "./platform.ts";
import { SocketListener } from "./socket-listener.ts";
import { SocketStream } from "./socket-stream.ts";

/** Largest file that is read whole: a spec may be megabytes, never more than a ttrpc message by much. */
const MAX_FILE = 16 << 20;
const READ_CHUNK = 16 << 10;

/** Everything the shim may do to the outside world. */
export function quickjsPlatform(): Platform {
  if (host.hasFailpoint()) useFailpoints(host.failpoint);
  return {
    clock: {
      monotonicMs: host.monotonicMs,
      realtimeNs: host.realtimeNs,
      after(ms, fire) {
        const id = host.setTimer(ms, fire);
        return { cancel: () => host.clearTimer(id) };
      },
    },
    net,
    text: { encode: host.encodeUtf8, decode: host.decodeUtf8 },
    files,
    fds: descriptors,
    processes: {
      spawn,
      openPidfd: host.openPidfd,
      reapPidfd(pidfd, leave) {
        // Who reaps takes the last trace of the exit away.
        if (!leave) beforeEffect();
        return host.reapPidfd(pidfd, leave);
      },
      reapAny: host.reapAny,
      reapPid: host.reapPid,
      pidfdExit: host.pidfdExit,
      killPidfd: host.killPidfd,
      takeDescriptor: host.takeDescriptor,
    },
    mounts,
    relays: {
      start: host.startRelay,
      redirect: host.redirectRelay,
      state: host.relayState,
      stop: host.stopRelay,
    },
    self: thisProcess(),
    keeping,
    sha256: (data) => host.sha256(typeof data === "string" ? host.encodeUtf8(data) : data),
    recordBatch: host.recordBatch,
    resizeTerminal: host.resizeTerminal,
    openTerminalPeer: host.openTerminalPeer,
  };
}

/** What is mounted must be known to whoever is to undo it. */
const mounts: Mounts = {
  mount(source, target, type, flags, data, directory) {
    beforeEffect();
    host.mount(source, target, type, flags, data, directory);
  },
  unmount: host.unmount,
  openInRoot: host.openInRoot,
  userNamespace: host.userNamespace,
  attachIdMapped(source, target, userns) {
    beforeEffect();
    host.attachIdMapped(source, target, userns);
  },
  attachLoop: host.attachLoop,
};

const keeping: Keeping = {
  keeper: host.keeper,
  started: host.started,
  exit: host.keptExit,
  takeExits(count) {
    beforeEffect();
    host.takeKeptExits(count);
  },
  prepareState: host.prepareState,
  execute: host.execute,
  haveExecuted: host.haveExecuted,
  beforeEffects: useBeforeEffects,
  asOne,
};

const files: Files = {
  readBytes: host.readFile,
  read: (path, max = MAX_FILE) => host.decodeUtf8(host.readFile(path, max)),
  replace(path, content, mode) {
    const next = `${path}.new`;
    try {
      writeAll(host.open(next, host.O_WRONLY | host.O_CREAT | host.O_TRUNC, mode), content, next);
      host.rename(next, path);
    } catch (error) {
      files.remove(next);
      throw error;
    }
  },
  write: (path, content) => writeAll(host.open(path, host.O_WRONLY), content, path),
  stat: host.statPath,
  list: host.listDirectory,
  makeDirectory: host.makeDirectory,
  makeDirectories(path, mode) {
    for (let end = path.indexOf("/", 1); ; end = path.indexOf("/", end + 1)) {
      const part = end < 0 ? path : path.slice(0, end);
      if (host.statPath(part) === null) {
        try {
          host.makeDirectory(part, mode);
        } catch (error) {
          if (!isSystemError(error, "EEXIST")) throw error;
        }
      }
      if (end < 0) return;
    }
  },
  rename: host.rename,
  removeDirectory: host.removeDirectory,
  remove(path) {
    try {
      host.unlink(path);
    } catch (error) {
      if (!isSystemError(error, "ENOENT")) throw error;
    }
  },
};

/** What a child gets is made blocking: few programs expect anything else of their stdio, and those that do not lose what they write. */
function spawn(request: SpawnRequest): { pid: number; pidfd: number } {
  beforeEffect();
  for (const fd of request.fds) if (fd >= 0) host.setNonBlocking(fd, false);
  return host.spawn(request);
}

function writeAll(fd: number, content: string, path: string): void {
  try {
    let rest = host.encodeUtf8(content);
    while (rest.length > 0) {
      const written = host.write(fd, rest);
      if (written < 0) throw new Error(`write ${path}: would block`);
      rest = rest.subarray(written);
    }
  } catch (error) {
    // A descriptor's number says nothing to anybody.
    if (isSystemError(error) && error.syscall === "write")
      error.message = `write ${path}${error.message.slice("write".length)}`;
    throw error;
  } finally {
    host.close(fd);
  }
}

const descriptors: Descriptors = {
  openRead: (path) => host.open(path, host.O_RDONLY | host.O_NONBLOCK),
  openWrite: (path) => host.open(path, host.O_WRONLY | host.O_NONBLOCK),
  openAppend: (path) =>
    host.open(path, host.O_WRONLY | host.O_APPEND | host.O_CREAT | host.O_NONBLOCK, 0o644),
  openBoth: (path) => host.open(path, host.O_RDWR | host.O_NONBLOCK),
  create: (path) => host.open(path, host.O_RDWR | host.O_CREAT | host.O_TRUNC | host.O_NOFOLLOW, 0o600),
  openPath: (path) => host.open(path, host.O_PATH),
  stat: host.statFd,
  openProgram: (path) => host.open(path, host.O_RDONLY),
  openDirectory: (path) => host.open(path, host.O_RDONLY | host.O_DIRECTORY),
  close: (fd) => whenWritten(() => host.close(fd)),
  discard: host.close,
  read: host.read,
  write: host.write,
  readToEnd(fd) {
    host.setNonBlocking(fd, false);
    const chunks: Uint8Array[] = [];
    let size = 0;
    for (;;) {
      const chunk = host.read(fd, READ_CHUNK);
      if (chunk === null || chunk.length === 0) break;
      chunks.push(chunk);
      size += chunk.length;
    }
    const all = new Uint8Array(size);
    let offset = 0;
    for (const chunk of chunks) {
      all.set(chunk, offset);
      offset += chunk.length;
    }
    return all;
  },
  pipe: host.pipe,
  readable: host.readableBytes,
  peerClosed: host.peerClosed,
  setPipeCapacity: host.setPipeCapacity,
  setOwner: host.chownFd,
  duplicate: host.duplicate,
  duplicateTo: host.duplicateTo,
  eventFd: host.eventFd,
  memoryFile: host.memoryFile,
  watch: (fd, ready) => host.watch(fd, host.READABLE, ready),
  watchWritable: (fd, ready) => host.watch(fd, host.WRITABLE, ready),
  watchPriority: (fd, ready) => host.watch(fd, host.PRIORITY, ready),
  unwatch: host.unwatch,
};

const net: ShimNet = {
  async connect(path) {
    return new SocketStream(host.connect(path));
  },
  adopt: (fd) => new SocketStream(fd),
  listen: host.listen,
  serve: (fd, accept, failed) => new SocketListener(fd, accept, failed),
  answers(path) {
    try {
      host.close(host.connect(path));
      return true;
    } catch (error) {
      if (isSystemError(error, "ECONNREFUSED") || isSystemError(error, "ENOENT")) return false;
      // A full backlog means a shim that is busy or stopped, not one that is gone.
      if (isSystemError(error, "EAGAIN")) return true;
      throw error;
    }
  },
  receiveDescriptor,
};

function receiveDescriptor(listener: number, ms: number): Reception {
  let current = listener;
  let done = false;
  let resolve: (fd: number) => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const descriptor = new Promise<number>((fulfil, fail) => {
    resolve = fulfil;
    reject = fail;
  });
  // Once only: the numbers may be others' after that.
  const finish = (settle: () => void): void => {
    if (done) return;
    done = true;
    host.clearTimer(timer);
    host.unwatch(current);
    if (current !== listener) host.close(current);
    settle();
  };
  const fail = (error: unknown): void => finish(() => reject(error));
  const timer = host.setTimer(ms, () => fail(new Error(`nobody passed a descriptor within ${ms} ms`)));
  const attempt = (step: () => void) => (): void => {
    try {
      step();
    } catch (error) {
      fail(error);
    }
  };
  const receive = (): void => {
    const message = host.receiveDescriptors(current, 4096);
    if (message === null) return;
    const [first, ...others] = message.fds;
    for (const other of others) host.close(other);
    if (first !== undefined) finish(() => resolve(first));
    else if (message.bytes.length === 0) fail(new Error("connection closed before a descriptor was passed"));
  };
  const acceptOne = (): void => {
    const connection = host.accept(listener);
    if (connection < 0) return;
    host.unwatch(listener);
    current = connection;
    host.watch(connection, host.READABLE, attempt(receive));
  };
  attempt(() => host.watch(listener, host.READABLE, attempt(acceptOne)))();
  return { descriptor, cancel: () => fail(new Error("nobody waits for a descriptor any more")) };
}

function thisProcess(): ThisProcess {
  return {
    argv: host.argv,
    environment: host.environment(),
    pid: host.pid,
    parentPid: host.parentPid,
    starterPid: host.starterPid,
    effectiveUid: host.effectiveUid,
    raiseFileLimit: host.raiseFileLimit,
    workingDirectory: host.workingDirectory,
    exit: host.exit,
    fork: host.fork,
    createSchedulingCore: host.createSchedulingCore,
    newSession: host.newSession,
    becomeSubreaper: host.becomeSubreaper,
    onSignals: host.onSignals,
    onUncaught: host.onUncaught,
    trimMemory: host.trimMemory,
    memoryUsage: host.memoryUsage,
  };
}
