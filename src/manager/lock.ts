// One daemon for each directory of records or bundles: flock(2) of a file there, which the kernel lets go when its holder ends, however that happens. Taken by daemon.ts.
import { spawn } from "node:child_process";
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { childEnvironment } from "./child-environment.ts";

const NAME = "holdfastd.lock";
/** flock(1)'s exit status if another has the lock. */
const TAKEN = 1;

export interface Lock {
  /** Another daemon may have the directory from now on. To be called once. */
  release(): void;
}

/** Who holds it, as the file tells it. */
interface Holder {
  readonly pid: number;
  readonly address: string;
  /** ISO 8601. */
  readonly startedAt: string;
}

/** Rejects, saying who it is, if another daemon has `directory`, which must exist. `address` is for such a message. The file stays when the lock goes. */
export async function acquireLock(directory: string, address: string): Promise<Lock> {
  // Node opens everything close-on-exec: no shim inherits the lock.
  const fd = openSync(join(directory, NAME), "a+", 0o600);
  try {
    if (!(await lock(fd))) {
      throw new Error(`${directory} is in use by ${describeHolder(readFileSync(fd, "utf8"))}`);
    }
    const holder: Holder = { pid: process.pid, address, startedAt: new Date().toISOString() };
    ftruncateSync(fd);
    writeSync(fd, `${JSON.stringify(holder)}\n`);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  return { release: () => closeSync(fd) };
}

/** Node has no flock(2). A lock belongs to the open file, not to who has asked for it, so flock(1) can take it for us and end. False if it is taken. */
function lock(fd: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => reject(new Error(`cannot lock: flock (of util-linux): ${reason}`));
    const child = spawn("flock", ["-n", "3"], {
      env: childEnvironment(),
      stdio: ["ignore", "ignore", "pipe", fd],
    });
    let said = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    child.once("error", (error) => fail(error.message));
    child.once("close", (status, signal) => {
      if (status === 0 || status === TAKEN) resolve(status === 0);
      else fail(said.trim() || (signal ?? `exit status ${status}`));
    });
  });
}

function describeHolder(text: string): string {
  try {
    const { pid, address, startedAt } = JSON.parse(text) as Holder;
    return `holdfastd pid ${pid}, which serves ${address} since ${startedAt}`;
  } catch {
    return "another holdfastd, which has not yet said more";
  }
}
