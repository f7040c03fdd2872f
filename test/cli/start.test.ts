// How fast holdfast starts is no test's business, but what makes it fast is: pages of help that need no Node, and the code that V8 has made once.
// Whatever is wrong with these, it starts as without.
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { VERBS } from "../../src/cli/verbs/groups.ts";
import { run } from "../harness/command.ts";
import { inParallel } from "../harness/parallel.ts";
import { Cli } from "./cli.ts";

const cli = new Cli();
const directory = mkdtempSync(join(tmpdir(), "holdfast-start-"));
after(() => {
  cli.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Without what stands before Node in the program. */
function byNode(words: readonly string[]): Promise<{ status: number; stdout: string; stderr: string }> {
  return run([process.execPath, cli.nodeProgram, ...words]);
}

test("what --help says without Node is what the program says", async () => {
  await inParallel(2, VERBS, async (verb) => {
    const said = await byNode([verb, "--help"]);
    assert.equal(said.status, 0);
    for (const words of [[verb, "--help"], [verb, "-h"], ...(verb === "shim" ? [] : [["help", verb]])]) {
      assert.deepEqual(await run([cli.program, ...words]), said, words.join(" "));
    }
  });
  const all = await byNode(["--help"]);
  assert.match(all.stdout, /^Usage: holdfast /);
  for (const words of [["--help"], ["-h"], ["help"]]) {
    assert.deepEqual(await run([cli.program, ...words]), all, words.join(" "));
  }
});

test("help needs no Node, through a link and by PATH too", async () => {
  const bin = join(directory, "bin with 'quotes");
  mkdirSync(bin);
  symlinkSync(cli.program, join(bin, "holdfast"));
  writeFileSync(join(bin, "node"), "#!/bin/sh\necho node >&2\nexit 9\n", { mode: 0o755 });
  const env = { PATH: `${bin}:${process.env.PATH}` };
  for (const program of [join(bin, "holdfast"), cli.program]) {
    const { status, stdout, stderr } = await run([program, "ps", "--help"], { env });
    assert.deepEqual([status, stderr], [0, ""]);
    assert.match(stdout, /^Usage: holdfast ps/);
  }
  assert.match((await run(["sh", "-c", "holdfast help ps"], { env })).stdout, /^Usage: holdfast ps/);
  assert.equal((await run([cli.program, "stats"], { env })).status, 9, "all else is the program's");
});

test("a page is only what is asked for by its name", async () => {
  for (const words of [
    ["HOLDFAST", "--help"],
    ["../help/ps", "--help"],
    ["help", ".."],
    ["help", ""],
    ["", "--help"],
    ["nosuch", "--help"],
    ["--json", "--help"],
    ["ps", "--help", "x"],
  ]) {
    assert.deepEqual(await run([cli.program, ...words]), await byNode(words), words.join(" "));
  }
});

/** A copy of the program, whose cache is this test's own. */
const program = join(directory, "lib/holdfast-node");
const cache = `${program}.js.cache`;

beforeEach(() => {
  rmSync(dirname(program), { recursive: true, force: true });
  mkdirSync(dirname(program));
  for (const file of ["", ".js"]) copyFileSync(`${cli.nodeProgram}${file}`, `${program}${file}`);
  writeFileSync(join(dirname(program), "package.json"), '{ "type": "commonjs" }\n');
});

async function starts(): Promise<void> {
  const { status, stdout, stderr } = await run([program, "--version"]);
  assert.deepEqual([status, stderr], [0, ""]);
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
}

/** Of how many starts the cache has the code. */
const startsKnown = (): number => readFileSync(cache)[64] ?? 0;

test("the first starts leave V8's code behind, and the next ones use it", async () => {
  await starts();
  assert.ok(statSync(cache).size > 50_000);
  assert.equal(statSync(cache).mode & 0o777, 0o644);
  assert.equal(startsKnown(), 1);
  // What is not used would be made from the beginning.
  for (let more = 2; more <= 6; more++) {
    await starts();
    assert.equal(startsKnown(), more);
  }
  const { ino } = statSync(cache);
  await starts();
  assert.equal(statSync(cache).ino, ino, "enough is enough");
  // Of another program it cannot be used.
  writeFileSync(`${program}.js`, `${readFileSync(`${program}.js`, "latin1")}\n// another\n`);
  await starts();
  assert.equal(startsKnown(), 1);
});

test("what a verb needs is added to what others needed", async () => {
  await starts();
  const { size } = statSync(cache);
  assert.equal((await run([program, "completion", "bash"])).status, 0);
  assert.ok(statSync(cache).size > size * 1.1);
  const { size: both } = statSync(cache);
  await starts();
  assert.ok(statSync(cache).size > both * 0.95);
});

test("first starts at once leave one cache, whole, and nothing else", async () => {
  await inParallel(8, Array.from({ length: 8 }).keys(), starts);
  const made = startsKnown();
  assert.ok(made >= 1);
  await starts();
  assert.equal(startsKnown(), Math.min(made + 1, 6));
  assert.deepEqual(readdirSync(dirname(program)).sort(), [
    "holdfast-node",
    "holdfast-node.js",
    "holdfast-node.js.cache",
    "package.json",
  ]);
});

/** What may be wrong with the file. */
const FAULTS: Readonly<Record<string, () => void>> = {
  "cut short": () => writeFileSync(cache, readFileSync(cache).subarray(0, 30_000)),
  "cut to its head": () => writeFileSync(cache, readFileSync(cache).subarray(0, 64)),
  empty: () => writeFileSync(cache, ""),
  "with a hole": () => {
    const bytes = readFileSync(cache);
    writeFileSync(cache, bytes.fill(0, 20_000, 24_096));
  },
  // V8 itself would end the process.
  "with other bytes": () => {
    const bytes = readFileSync(cache);
    for (const at of [0.2, 0.5, 0.9]) {
      const index = Math.floor(bytes.length * at);
      bytes[index] = (bytes[index] ?? 0) ^ 0x10;
    }
    writeFileSync(cache, bytes);
  },
  "of another Node": () => {
    const bytes = readFileSync(cache);
    bytes[0] = (bytes[0] ?? 0) ^ 1;
    writeFileSync(cache, bytes);
  },
  "another user's": () => chownSync(cache, 12345, 12345),
  "for others to write": () => chmodSync(cache, 0o666),
  "a link": () => {
    copyFileSync(cache, join(directory, "elsewhere"));
    rmSync(cache);
    symlinkSync(join(directory, "elsewhere"), cache);
  },
};

for (const [what, spoil] of Object.entries(FAULTS)) {
  test(`a cache that is ${what} is not used, and made anew`, async () => {
    await starts();
    await starts();
    const right = readFileSync(cache);
    spoil();
    await starts();
    assert.equal(startsKnown(), 1, "it was not used");
    const stat = statSync(cache);
    assert.deepEqual([stat.uid, stat.mode & 0o777], [process.geteuid?.(), 0o644]);
    assert.deepEqual(readFileSync(cache).subarray(0, 32), right.subarray(0, 32));
  });
}

test("a cache that is a directory or a fifo delays nobody", async () => {
  mkdirSync(cache);
  await starts();
  rmSync(cache, { recursive: true });
  assert.equal((await run(["mkfifo", cache])).status, 0);
  await starts();
});

test("where it may not be written, it starts without one", async () => {
  const readOnly = ["unshare", "-m", "sh", "-c", 'mount -o bind,ro "$1" "$1" && exec "$2" --version'];
  const output = await run([...readOnly, "sh", dirname(program), program]);
  assert.deepEqual([output.status, output.stderr], [0, ""]);
  for (const place of [directory, dirname(program)]) chmodSync(place, 0o755);
  const somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
  const { status, stderr } = await run([...somebody, program, "--version"]);
  assert.deepEqual([status, stderr], [0, ""]);
  assert.equal(existsSync(cache), false);
});

test("somebody who starts what others may write leaves nothing there", async () => {
  chmodSync(`${program}.js`, 0o666);
  await starts();
  assert.equal(existsSync(cache), false);
});

test("node on the program itself leaves nothing there: its options may be others", async () => {
  assert.equal((await run([process.execPath, program, "--version"])).status, 0);
  assert.equal(existsSync(cache), false);
});
