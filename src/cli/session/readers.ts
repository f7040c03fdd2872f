// Who reads a process's output: a fifo gives every byte to one reader only, so two would each get a part.
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename } from "node:path";
import { allPids, executableOf } from "../shims/proc.ts";

const ACCESS_MODE = 3;
const WRITE_ONLY = 1;

export interface Reader {
  readonly pid: number;
  readonly name: string;
}

/** A process beside us that has one of these fifos open for reading; shims do not count: they only keep it open. */
export function otherReader(fifos: readonly string[]): Reader | undefined {
  const paths = fifos.filter((path) => path !== "").map((path) => realpathSync(path));
  for (const pid of paths.length === 0 ? [] : allPids()) {
    if (pid === process.pid || !paths.some((path) => reads(pid, path))) continue;
    const name = basename(executableOf(pid) ?? "");
    if (!name.startsWith("containerd-shim-")) return { pid, name: nameOf(pid) ?? name };
  }
  return undefined;
}

function reads(pid: number, path: string): boolean {
  return namesIn(`/proc/${pid}/fd`).some((fd) => {
    try {
      if (readlinkSync(`/proc/${pid}/fd/${fd}`) !== path) return false;
      const flags = /^flags:\s*([0-7]+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, "utf8"))?.[1];
      return (Number.parseInt(flags ?? "0", 8) & ACCESS_MODE) !== WRITE_ONLY;
    } catch {
      return false;
    }
  });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function nameOf(pid: number): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return undefined;
  }
}
