// holdfast is two programs: a native one, and the whole on Node, which the native one becomes for what it has no part for. Nobody may see which one it is.
import assert from "node:assert/strict";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Running, run } from "../harness/command.ts";
import { eventually } from "../harness/eventually.ts";
import { IMAGE, importImage } from "../harness/image.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();
const directory = mkdtempSync(join(tmpdir(), "holdfast-native-"));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A name and words that are wide, combined, or steer a terminal. */
const ODD = ["echo", "日本語のテキスト", "e\u0301\u0301", "👩‍👩‍👧", "\x1b[31mred", "a\nb"];

before(async () => {
  await importImage(daemon);
  for (const id of ["web", "odd", "over"]) daemon.ctr.ids.add(id);
  await cli.do(["run", "-d", "--name", "web", "--label", "a=b", IMAGE, "until-signal", "TERM=9"]);
  await cli.do(["create", "--name", "odd", "--rootfs", daemon.rootfs, "--", ...ODD]);
  await cli.run(["run", "--name", "over", "--rootfs", daemon.rootfs, "sh", "-c", "exit 7"]);
});

/** What two programs print differs in how long ago something was, which a process tells to some hundredths of a second, and in the order of Go's maps. */
function steady(text: string): string {
  return sorted(text)
    .replace(/("startedAt": ?"[^"]*)\d{9}Z"/g, '$1Z"')
    .replace(/\b\d+(\.\d+)? (ms|s|min|h)\b/g, "AGE")
    .replace(/ {2,}/g, "  ");
}

/** JSON with the names of its objects in order; other text as it is. */
function sorted(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), (_name, value: unknown) =>
      typeof value === "object" && value !== null && !Array.isArray(value)
        ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
        : value,
    );
  } catch {
    return text;
  }
}

const LINES: readonly (readonly string[])[] = [
  ["ps"],
  ["ps", "-a"],
  ["ps", "-aw"],
  ["ps", "--json", "-a"],
  ["ps", "-aq"],
  ["ps", "-A", "--no-trunc"],
  ["ps", "-n", "nosuch"],
  ["ls", "--nosuch"],
  ["images"],
  ["images", "-q"],
  ["images", "--json"],
  ["inspect", "web"],
  ["inspect", "odd", "over", "nosuch"],
  ["inspect", "--json", "nosuch"],
  ["wait", "over"],
  ["wait", "--timeout", "50ms", "web"],
  ["exec", "web", "sh", "-c", "echo out; echo err >&2; exit 5"],
  ["exec", "web", "nosuch"],
  ["exec", "-u", "nosuch", "web", "true"],
  ["exec", "-d", "nosuch", "true"],
  ["exec", "web", "printf", "%s|", "--json", "-it", "é", "ps"],
  ["kill", "-s", "NOSUCH", "web"],
  ["kill", "nosuch"],
  ["stop", "nosuch"],
  ["delete", "nosuch"],
  ["delete", "web"],
  ["update", "web"],
  ["run"],
  ["run", "--rm", "--pull", "never", "nosuch", "true"],
  ["run", "--rm", IMAGE, "sh", "-c", "echo $0 $HOME; exit 3"],
  ["run", "--rm", IMAGE, "nosuch"],
  ["run", "--rm", "-e", "A=ö", "--rootfs", daemon.rootfs, "sh", "-c", 'echo "$A"; kill -9 $$'],
  ["run", "--rm", "-v", "relative:/x", IMAGE, "true"],
  ["run", "--rm", "--memory", "much", IMAGE, "true"],
  ["start", "web"],
  ["pause", "over"],
  ["version"],
  ["--version"],
  ["--nosuch"],
  ["nosuch"],
  [],
];

for (const line of LINES) {
  test(`holdfast ${line.map((word) => JSON.stringify(word)).join(" ")} is the same on both`, async () => {
    const [native, node] = [await cli.run(line), await cli.runOnNode(line)];
    assert.equal(native.status, node.status);
    assert.equal(steady(native.stdout), steady(node.stdout));
    // An id that is made anew each time.
    const said = ({ stderr }: { stderr: string }): string => steady(stderr).replace(/[0-9a-f]{12,}/g, "ID");
    assert.equal(said(native), said(node));
  });
}

/** Beside nothing but what its name says, with a Node that says that it was called. */
function installed(
  name: string,
  ...files: readonly string[]
): { program: string; env: Record<string, string> } {
  const place = join(directory, name);
  mkdirSync(place);
  for (const file of ["holdfast", ...files]) copyFileSync(join(cli.program, "..", file), join(place, file));
  writeFileSync(join(place, "node"), "#!/bin/sh\necho node was called\nexit 9\n", { mode: 0o755 });
  const env = { HOLDFAST_ADDRESS: daemon.address, HOLDFAST_NAMESPACE: daemon.namespace };
  return { program: join(place, "holdfast"), env: { ...env, PATH: `${place}:${process.env.PATH}` } };
}

test("what is typed most needs no Node, and what is not there goes on in it, also through a link", async () => {
  const { program, env } = installed("alone", "holdfast-node");
  const fifos = { HOLDFAST_FIFOS: cli.fifos };
  for (const line of [
    ["ps"],
    ["images"],
    ["run", "--rm", IMAGE, "true"],
    ["exec", "web", "true"],
    ["inspect", "web"],
  ]) {
    const { status, stdout } = await run([program, ...line], { env: { ...env, ...fifos } });
    assert.equal(status, 0, line.join(" "));
    assert.doesNotMatch(stdout, /node was called/);
  }
  const link = join(directory, "link");
  symlinkSync(program, link);
  for (const line of [
    ["stats"],
    ["exec", "-i", "web", "true"],
    ["run", "-i", IMAGE, "true"],
    ["logs", "web"],
  ]) {
    const { status, stdout } = await run([link, ...line], { env: { ...env, ...fifos } });
    assert.deepEqual([status, stdout], [9, "node was called\n"], line.join(" "));
  }
});

test("without the program that is on Node, the error names it", async () => {
  const { program, env } = installed("bare");
  const { status, stderr } = await run([program, "stats"], { env });
  assert.equal(status, 1);
  assert.match(stderr, /^holdfast: \S+\/bare\/holdfast-node: no such file\n$/);
});

test("nothing is left of a command line that goes on in Node: no fifos, no lease, no snapshot", async () => {
  const { program, env } = installed("traces", "holdfast-node");
  const fifos = join(directory, "fifos-of-traces");
  const before = [await daemon.ctr.do(["leases", "ls", "-q"]), await daemon.ctr.do(["snapshots", "ls"])];
  for (const line of [
    ["run", "-i", IMAGE, "true"],
    ["run", "--pull", "always", IMAGE, "true"],
    ["run", "nosuch:1", "true"],
  ]) {
    const { status } = await run([program, ...line], { env: { ...env, HOLDFAST_FIFOS: fifos } });
    assert.equal(status, 9, line.join(" "));
  }
  assert.deepEqual(
    [await daemon.ctr.do(["leases", "ls", "-q"]), await daemon.ctr.do(["snapshots", "ls"])],
    before,
  );
  assert.throws(() => readdirSync(fifos), { code: "ENOENT" });
});

test("a reader that is slow gets everything, and holds up no signal", async () => {
  daemon.ctr.ids.add("slow");
  const line = ["run", "--rm", "--name", "slow", "--rootfs", daemon.rootfs, "sh", "-c"];
  const slow = cli.spawn(
    [...line, "trap 'exit 4' TERM; head -c 3000000 /dev/zero; while :; do sleep 0.1; done"],
    {
      rawStdout: true,
    },
  );
  await eventually("it to run", async () => (await cli.run(["exec", "slow", "true"])).status === 0);
  slow.kill("SIGTERM");
  let bytes = 0;
  slow.stdout.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
  });
  assert.equal((await slow.exited).status, 4);
  assert.equal(bytes, 3_000_000);
});

test("whoever shares our output still waits for its reader", async () => {
  // The flags of the pipe are those of everybody who has it.
  const script = `{ "$1" run --rm --rootfs "$2" echo hi; grep flags: /proc/self/fdinfo/1; } | cat`;
  const shell = new Running(["sh", "-c", script, "sh", cli.program, daemon.rootfs], {
    env: {
      HOLDFAST_ADDRESS: daemon.address,
      HOLDFAST_NAMESPACE: daemon.namespace,
      HOLDFAST_FIFOS: cli.fifos,
    },
  });
  const { stdout } = await shell.exited;
  const flags = Number.parseInt(/^hi\nflags:\s*([0-7]+)$/m.exec(stdout)?.[1] ?? "", 8);
  assert.equal(flags & 0o4000, 0, stdout);
});

test("a descriptor that the shell opens for it is there, also where it goes on in Node", async () => {
  const container = `--env-file <(echo FROM=there) --rootfs ${daemon.rootfs} sh -c 'echo $FROM'`;
  for (const verb of ["run --rm", "run --rm -i"]) {
    const { status, stdout } = await cli.shell(`$H ${verb} ${container}`).exited;
    assert.deepEqual([status, stdout], [0, "there\n"], verb);
  }
  // It has something to say once: the program that pulls the image must find it unread.
  const { program, env } = installed("read-once", "holdfast-node");
  writeFileSync(join(program, "../node"), "#!/bin/sh\ncat /dev/fd/63\nexit 9\n", { mode: 0o755 });
  const line = 'exec "$1" run --rm --env-file /dev/fd/63 --pull always "$2" true 63< <(echo FROM=there)';
  const pulling = await run(["bash", "-c", line, "bash", program, IMAGE], { env });
  assert.deepEqual([pulling.status, pulling.stdout], [9, "FROM=there\n"]);
});

test("a program that was replaced or removed while it begins goes on, or says what is missing", async () => {
  const { program } = installed("replaced", "holdfast-node");
  const line = 'exec 9<"$1"; rm "$1"; exec /proc/self/fd/9 "$2"';
  const { status, stdout } = await run(["bash", "-c", line, "bash", program, "stats"], {
    env: { PATH: `${join(program, "..")}:${process.env.PATH}` },
  });
  assert.deepEqual([status, stdout], [9, "node was called\n"]);
});

test("bytes that are no text reach the other program as they are", async () => {
  const { program, env } = installed("bytes", "holdfast-node");
  writeFileSync(
    join(program, "../node"),
    '#!/bin/sh\nfor last; do :; done\nprintf %s "$last" | od -An -tx1\n',
    {
      mode: 0o755,
    },
  );
  const odd = await run(["bash", "-c", "exec \"$1\" stats $'a\\xffb'", "bash", program], { env });
  assert.equal(odd.stdout.trim(), "3a 61 ff 62");
});

test("what a container has said on stderr is all there, however late somebody reads it", async () => {
  daemon.ctr.ids.add("loud");
  const script = "head -c 70000 /dev/zero >&2";
  // A little more than the pipe takes: holdfast has the rest when the container has ended, and does not hold it up for that.
  const run = `$H run --name loud --rootfs ${daemon.rootfs} sh -c '${script}' 2>&1 >/dev/null`;
  const { stdout } = await cli.shell(`${run} | { until $H wait loud 2>/dev/null; do :; done; wc -c; }`)
    .exited;
  assert.equal(stdout, "0\n70000\n");
});

test("what the starter has closed is no file of ours", async () => {
  const line = `run --rm --rootfs ${daemon.rootfs} sh -c 'echo out; echo err >&2; exit 3'`;
  const ways = [
    ["<&-", "out\n", "err\n"],
    [">&-", "", "err\n"],
    ["2>&-", "out\n", ""],
    ["<&- >&- 2>&-", "", ""],
  ] as const;
  for (const [closed, ...printed] of ways) {
    const { status, stdout, stderr } = await cli.shell(`$H ${line} ${closed}`).exited;
    assert.deepEqual([status, stdout, stderr], [3, ...printed], closed);
    assert.equal((await cli.shell(`$H ps ${closed}`).exited).status, 0, closed);
  }
});

test("what the sources use of process is there", () => {
  const part = readFileSync(join(import.meta.dirname, "../../src/node-parts/process.ts"), "utf8");
  const root = join(import.meta.dirname, "../../src");
  const used = new Set<string>();
  for (const folder of ["cli", "shims", "transfer", "platform"]) {
    for (const name of readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })) {
      if (!name.endsWith(".ts")) continue;
      for (const [, member = ""] of readFileSync(join(root, folder, name), "utf8").matchAll(
        /\bprocess\.(\w+)/g,
      ))
        used.add(member);
    }
  }
  // There are other things that are called so.
  const missing = [...used].filter(
    (member) =>
      Object.hasOwn(process, member) && !new RegExp(`^  (readonly |get )?${member}\\b`, "m").test(part),
  );
  assert.deepEqual(missing, []);
});
