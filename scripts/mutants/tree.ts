// A copy of the tree with programs of its own, into which one fault at a time is put. Only the programs that hold the file are built anew, and they are
// set back from a copy. Called by main.ts.
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { build } from "esbuild";
import type { Mutant } from "../../test/mutants/mutant.ts";
import type { Part } from "../build.ts";
import { root } from "../cache.ts";
import { quickjs } from "../compile-c.ts";
import { withFault } from "./choose.ts";

/** What build.ts builds of TypeScript, with the files where its code begins. */
const PARTS = {
  shim: ["cmd/shim/main.ts"],
  node: ["cmd/daemon/main.ts", "cmd/holdfast/main.ts"],
  front: ["cmd/holdfast/native.ts"],
} as const;

/** Goes into what starts holdfast, which has no file of its own where its code begins. */
const CODE_CACHE = "src/platform/code-cache.ts";
const PROGRAMS = [
  "containerd-shim-holdfast-v2",
  "holdfastd",
  "holdfast",
  "holdfast-node",
  "holdfast-node.js",
  "holdfast-layer",
];

/** `use` gets the tree; it is gone when that is done. */
export async function inTree(use: (tree: Tree) => Promise<void>): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), "holdfast-mutants-"));
  try {
    const listed = spawnSync("git", ["ls-files", "-co", "--exclude-standard"], {
      cwd: root,
      encoding: "utf8",
    });
    for (const file of listed.stdout.trim().split("\n")) {
      if (existsSync(join(root, file))) cpSync(join(root, file), join(path, file));
    }
    for (const shared of ["node_modules", "build"]) symlinkSync(join(root, shared), join(path, shared));
    const sources = new Map<Part, ReadonlySet<string>>();
    for (const part of ["shim", "node", "front"] as const)
      sources.set(part, await sourcesOf(path, PARTS[part]));
    await use(new Tree(path, sources));
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

/** The files that go into the programs which begin in `entries`, from the root. */
async function sourcesOf(path: string, entries: readonly string[]): Promise<ReadonlySet<string>> {
  const { metafile } = await build({
    entryPoints: entries.map((entry) => join(path, entry)),
    absWorkingDir: path,
    bundle: true,
    write: false,
    outdir: path,
    metafile: true,
    platform: "node",
    format: "esm",
    packages: "external",
    logLevel: "silent",
  });
  return new Set(Object.keys(metafile.inputs));
}

/** The engine's source at its place of always: what was compiled of it is found by its path. */
const engineOf = (): { HOLDFAST_QUICKJS_SRC: string } => ({ HOLDFAST_QUICKJS_SRC: quickjs() });

/** Builds these, or all; returns what the compiler says if it cannot. */
function buildParts(path: string, parts: readonly Part[]): string | undefined {
  const only = parts.map((part) => `--only=${part}`);
  const { status, stderr } = spawnSync("node", ["--import", "tsx", "scripts/build.ts", ...only], {
    cwd: path,
    env: { ...process.env, ...engineOf() },
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
  });
  return status === 0 ? undefined : stderr;
}

export class Tree {
  readonly path: string;
  readonly #sources: ReadonlyMap<Part, ReadonlySet<string>>;
  /** What stands in the file of the mutant that is in. */
  #sourceBefore: string | undefined;
  #areProgramsBuilt = false;
  #areProgramsChanged = false;

  constructor(path: string, sources: ReadonlyMap<Part, ReadonlySet<string>>) {
    this.path = path;
    this.#sources = sources;
  }

  /** Puts the fault in and builds what it is in, if a test runs that; false if it does not build. */
  async put(mutant: Mutant): Promise<boolean> {
    const { file, tests } = mutant;
    const runsPrograms = await this.#anyRunsPrograms(tests);
    if (runsPrograms) this.#buildPrograms();
    const parts = runsPrograms ? this.#partsOf(file) : [];
    const source = readFileSync(join(this.path, file), "utf8");
    this.#sourceBefore = source;
    writeFileSync(join(this.path, file), withFault(source, mutant));
    if (parts.length === 0) return true;
    this.#areProgramsChanged = true;
    if (buildParts(this.path, parts) !== undefined) return false;
    if (!this.#hasNewProgram()) throw new Error(`no program is another one with the fault in ${file}`);
    return true;
  }

  #hasNewProgram(): boolean {
    return PROGRAMS.some((name) => {
      const [now, whole] = ["dist", "dist.whole"].map((dist) => readFileSync(join(this.path, dist, name)));
      return whole === undefined || now?.equals(whole) === false;
    });
  }

  /** All of them, without a fault, when the first test needs one. */
  #buildPrograms(): void {
    if (this.#areProgramsBuilt) return;
    const failure = buildParts(this.path, []);
    if (failure !== undefined) throw new Error(`the tree does not build without a fault: ${failure}`);
    cpSync(join(this.path, "dist"), join(this.path, "dist.whole"), { recursive: true });
    this.#areProgramsBuilt = true;
  }

  /** Whether one of the tests, or what it imports, speaks of where programs are built. */
  async #anyRunsPrograms(tests: readonly string[]): Promise<boolean> {
    for (const test of tests) {
      for (const source of await sourcesOf(this.path, [test])) {
        if (/"dist["/]|dist\/holdfast/.test(readFileSync(join(this.path, source), "utf8"))) return true;
      }
    }
    return false;
  }

  /** Sets the file and the programs back; nothing happens if they are as they were. */
  restore({ file }: Mutant): void {
    const source = this.#sourceBefore;
    if (source === undefined) return;
    this.#sourceBefore = undefined;
    writeFileSync(join(this.path, file), source);
    if (!this.#areProgramsChanged) return;
    this.#areProgramsChanged = false;
    const whole = join(this.path, "dist.whole");
    for (const name of readdirSync(whole, { recursive: true, withFileTypes: true })) {
      if (!name.isFile()) continue;
      const from = join(name.parentPath, name.name);
      const to = join(this.path, "dist", from.slice(whole.length));
      // By rename: a process may still run the one that is there.
      mkdirSync(dirname(to), { recursive: true });
      copyFileSync(from, `${to}.whole`);
      renameSync(`${to}.whole`, to);
    }
  }

  /** The environment of the tests, and so of every daemon and shim that they start. */
  get environment(): Readonly<Record<string, string>> {
    return { HOLDFAST_MUTANTS: this.path, ...engineOf() };
  }

  /** Ends what the tests have left behind, with all its descendants: a shim with a fault may not end by itself, and a test that was ended cleans nothing up. */
  sweep(): void {
    const processes = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
    const ours = new Set(processes.filter((pid) => this.#runsOurs(pid)));
    const parents = new Map(processes.map((pid) => [pid, parentOf(pid)]));
    for (let grown = -1; grown < ours.size && grown !== ours.size; ) {
      grown = ours.size;
      for (const [pid, parent] of parents) if (parent !== undefined && ours.has(parent)) ours.add(pid);
    }
    for (const pid of ours) {
      try {
        process.kill(Number(pid), "SIGKILL");
      } catch {
        // It has ended.
      }
    }
  }

  #runsOurs(pid: string): boolean {
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8")
        .split("\0")
        .includes(`HOLDFAST_MUTANTS=${this.path}`);
    } catch {
      return false;
    }
  }

  #partsOf(file: string): Part[] {
    if (file.startsWith("native/layer/")) return ["layer"];
    if (file.startsWith("native/front/") || file.startsWith("src/node-parts/")) return ["front"];
    if (file.startsWith("native/")) return ["shim", "front"];
    if (/^scripts\/launcher.*\.sh$/.test(file) || file === CODE_CACHE) return ["node"];
    return [...this.#sources].filter(([, files]) => files.has(file)).map(([part]) => part);
  }
}

function parentOf(pid: string): string | undefined {
  try {
    return /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}
