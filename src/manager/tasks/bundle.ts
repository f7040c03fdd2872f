// Bundles on disk, laid out as containerd's (runtime/v2/bundle.go): <state>/io.containerd.runtime.v2.task/<namespace>/<id>, with a work directory
// under root. Made by tasks.ts, found again by reattach.ts. Small files are written synchronously: that takes less than handing them to a thread.
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BUNDLES } from "../../api/runtime-names.ts";
import { parseShimAddress, type ShimAddress } from "../../shims/address.ts";
import { DEFAULT_RUNTIME_ROOT } from "../../shims/runtime-root.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { unmountBelow } from "./mounts.ts";

const BOOTSTRAP = "bootstrap.json";
const SHIM_PATH = "shim-binary-path";
const JOURNAL = "holdfast.state";
const RUNTIME_ROOT = "runtime-root";

export interface BundlePlace {
  readonly root: string;
  readonly state: string;
}

export class Bundle {
  readonly namespace: string;
  readonly id: string;
  readonly path: string;
  readonly #work: string;

  constructor({ root, state }: BundlePlace, namespace: string, id: string) {
    this.namespace = namespace;
    this.id = id;
    this.path = join(state, BUNDLES, namespace, id);
    this.#work = join(root, BUNDLES, namespace, id);
  }

  get logFifo(): string {
    return join(this.path, "log");
  }

  /** Makes the directories and writes the spec. Throws, with nothing left, if one of them cannot be made; ALREADY_EXISTS if there is such a bundle. */
  make(spec: Uint8Array): void {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o711 });
    mkdirSync(dirname(this.#work), { recursive: true, mode: 0o711 });
    this.#makeOwn();
    try {
      this.#openForMappedRoot(spec);
      mkdirSync(join(this.path, "rootfs"), { mode: 0o711 });
      rmSync(this.#work, { recursive: true, force: true });
      mkdirSync(this.#work, { mode: 0o711 });
      symlinkSync(this.#work, join(this.path, "work"));
      writeFileSync(join(this.path, "config.json"), spec);
    } catch (error) {
      rmSync(this.path, { recursive: true, force: true });
      throw error;
    }
  }

  #makeOwn(): void {
    try {
      mkdirSync(this.path, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      const text = `task ${this.id}: there is a bundle of that id already: ${this.path}`;
      throw new TtrpcError(Code.ALREADY_EXISTS, text, { cause: error });
    }
  }

  /** A container whose root is another user of the host must be able to pass through to its rootfs. */
  #openForMappedRoot(spec: Uint8Array): void {
    const gid = hostGidOfRoot(spec);
    if (gid === 0) return;
    chownSync(this.path, process.getuid?.() ?? 0, gid);
    chmodSync(this.path, 0o710);
  }

  /** Whether a shim of ours has made a container here: its journal is there (src/task/journal.ts). */
  hasJournal(): boolean {
    return existsSync(join(this.path, JOURNAL));
  }

  /** Whether the shim has said that nobody knows how its container ended. */
  isEndUnknown(): boolean {
    try {
      const { exit } = JSON.parse(readFileSync(join(this.path, JOURNAL), "utf8")) as {
        exit?: { unknown?: unknown };
      };
      return exit?.unknown === true;
    } catch {
      return false;
    }
  }

  writeShim({ version, address }: ShimAddress): void {
    const bootstrap = JSON.stringify({ version, address, protocol: "ttrpc" });
    writeFileSync(join(this.path, BOOTSTRAP), bootstrap, { mode: 0o600 });
  }

  /** Written before the shim is started, so that whoever finds the bundle knows how to clean up. */
  writeShimPath(binary: string): void {
    writeFileSync(join(this.path, SHIM_PATH), binary, { mode: 0o600 });
  }

  /** Where its shim serves: as we wrote it down, or as the shim did. undefined if nobody came so far. Rejects on a file that makes no sense. */
  async readShim(): Promise<ShimAddress | undefined> {
    const bootstrap = await this.#read(BOOTSTRAP);
    if (bootstrap !== undefined) return parseShimAddress(bootstrap, join(this.path, BOOTSTRAP));
    const address = await this.#read("address");
    return address === undefined ? undefined : parseShimAddress(address, join(this.path, "address"));
  }

  /** Where the runtime keeps its state of the container. Written before the shim is started. */
  writeRuntimeRoot(root: string): void {
    writeFileSync(join(this.path, RUNTIME_ROOT), root, { mode: 0o600 });
  }

  /** Bundles of earlier versions have the default. */
  async readRuntimeRoot(): Promise<string> {
    return (await this.#read(RUNTIME_ROOT)) ?? DEFAULT_RUNTIME_ROOT;
  }

  readShimPath(): Promise<string | undefined> {
    return this.#read(SHIM_PATH);
  }

  async #read(name: string): Promise<string | undefined> {
    try {
      const text = await readFile(join(this.path, name), "utf8");
      return text.trim() === "" ? undefined : text.trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Unmounts what the shim has left and removes the directories. Rejects, with the bundle in place, if its rootfs cannot be emptied safely. */
  async remove(): Promise<void> {
    await this.#removeRootfs();
    for (const path of [this.path, this.#work]) {
      await unmountBelow(path);
      removeWhole(path);
    }
  }

  /** rmdir, never more: what is in there is a user's file system until all is unmounted. */
  async #removeRootfs(): Promise<void> {
    const rootfs = join(this.path, "rootfs");
    for (const removal of ["first", "after unmounting"] as const) {
      try {
        rmdirSync(rootfs);
        return;
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENOENT") return;
        if (removal !== "first") throw error;
        await unmountBelow(rootfs);
      }
    }
  }
}

/** What is out of sight and not gone yet. */
const removals = new Set<Promise<void>>();

/** Resolves when what was removed is gone from the disk too: a daemon that ends in order leaves nothing half removed. */
export async function removalsDone(): Promise<void> {
  await Promise.all(removals);
}

/** A rename first, so that what is seen is there as a whole or not at all. No call waits for the rest; what stays of it goes at the next start. */
function removeWhole(path: string): void {
  const hidden = join(dirname(path), `.${basename(path)}.${randomBytes(4).toString("hex")}`);
  try {
    renameSync(path, hidden);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  const removal = rm(hidden, { recursive: true, force: true })
    .catch(() => {})
    .finally(() => removals.delete(removal));
  removals.add(removal);
}

/** The bundles that are there. */
export function findBundles(place: BundlePlace): Bundle[] {
  const tasks = join(place.state, BUNDLES);
  return namesIn(tasks).flatMap((namespace) =>
    namesIn(join(tasks, namespace)).map((id) => new Bundle(place, namespace, id)),
  );
}

/** Removes halves of removals, and work directories whose bundles have gone with the last boot. */
export async function removeRemains(place: BundlePlace): Promise<void> {
  for (const base of [place.state, place.root]) {
    const tasks = join(base, BUNDLES);
    for (const namespace of namesIn(tasks)) {
      const directory = join(tasks, namespace);
      for (const name of hiddenNamesIn(directory)) await removeUnmounted(join(directory, name));
      if (base !== place.root) continue;
      const alive = new Set(namesIn(join(place.state, BUNDLES, namespace)));
      for (const id of namesIn(directory)) {
        if (!alive.has(id)) await removeUnmounted(join(directory, id));
      }
    }
  }
}

async function removeUnmounted(path: string): Promise<void> {
  await unmountBelow(path);
  await rm(path, { recursive: true, force: true });
}

function directoriesIn(path: string): string[] {
  try {
    const entries = readdirSync(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

const namesIn = (path: string): string[] => directoriesIn(path).filter((name) => !name.startsWith("."));
const hiddenNamesIn = (path: string): string[] => directoriesIn(path).filter((name) => name.startsWith("."));

interface SpecMappings {
  readonly linux?: {
    readonly gidMappings?: readonly { containerID?: number; hostID?: number; size?: number }[];
  };
}

/** 0 if there is no mapping, or no spec that can be read: whoever reads it next says so better. */
function hostGidOfRoot(spec: Uint8Array): number {
  try {
    const { linux } = JSON.parse(Buffer.from(spec).toString()) as SpecMappings;
    const mapping = linux?.gidMappings?.find(({ containerID, size }) => containerID === 0 && (size ?? 0) > 0);
    return mapping?.hostID ?? 0;
  } catch {
    return 0;
  }
}
