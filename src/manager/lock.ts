// One daemon for each root directory. Node has no flock(2), so the lock is a unix socket in the root: the kernel knows whether its owner lives, and the
// owner can say who it is. Taken by daemon.ts.
import { linkSync, renameSync, rmSync, statSync } from "node:fs";
import { createConnection, createServer, type Server } from "node:net";
import { join } from "node:path";

const NAME = "holdfastd.lock";
const ANSWER_TIMEOUT_MS = 2000;
const MAX_TRIES = 20;

export interface Lock {
  release(): void;
}

/** Rejects, saying who holds it, if another daemon has this root; takes over what a dead one has left. */
export async function acquireLock(root: string, address: string): Promise<Lock> {
  const path = join(root, NAME);
  const own = `${path}.${process.pid}`;
  const server = await serve(own, `pid ${process.pid}, which serves ${address}`);
  try {
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      if (linked(own, path)) {
        rmSync(own, { force: true });
        return {
          release() {
            rmSync(path, { force: true });
            server.close();
          },
        };
      }
      const inode = inodeOf(path);
      const holder = await askHolder(path);
      if (holder !== undefined) throw new Error(`${root} is in use by another holdfastd: ${holder}`);
      removeStale(path, inode);
    }
    throw new Error(`${path}: others keep taking it`);
  } catch (error) {
    server.close();
    rmSync(own, { force: true });
    throw error;
  }
}

function serve(path: string, words: string): Promise<Server> {
  rmSync(path, { force: true });
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.on("error", () => {}).end(words));
    server.once("error", reject);
    server.listen(path, () => {
      server.unref();
      resolve(server);
    });
  });
}

/** link(2) makes a name or fails; it never replaces one. */
function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

/** undefined if nobody is there any more. */
function askHolder(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    let words = "";
    const socket = createConnection(path);
    const silent = (): void => {
      socket.destroy();
      resolve("one that does not answer");
    };
    const timer = setTimeout(silent, ANSWER_TIMEOUT_MS);
    const settle = (holder: string | undefined): void => {
      clearTimeout(timer);
      resolve(holder);
    };
    socket.on("data", (chunk) => {
      words += chunk.toString();
    });
    socket.on("end", () => settle(words));
    socket.on("error", ({ code }: NodeJS.ErrnoException) =>
      settle(code === "ECONNREFUSED" || code === "ENOENT" ? undefined : `one that cannot be asked (${code})`),
    );
  });
}

/** Another starter may have been quicker, so that the name is a living lock by now: what is taken away is looked at, and given back. */
function removeStale(path: string, inode: number | undefined): void {
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (inodeOf(aside) !== inode) linked(aside, path);
  rmSync(aside, { force: true });
}
