// What `holdfast` says of itself: help with examples for every verb, completion for three shells, and doctor.
import assert from "node:assert/strict";
import { symlinkSync, unlinkSync } from "node:fs";
import { before, test } from "node:test";
import { check } from "../harness/command.ts";
import { onDaemon } from "./cli.ts";

const { daemon, cli } = await onDaemon();

before(async () => {
  daemon.ctr.ids.add("web");
  await cli.do(["run", "-d", "--name", "web", "--rootfs", daemon.rootfs, "sleep", "1000"]);
});

const VERBS = [
  ..."run create start stop restart exec attach kill pause resume update delete wait ps inspect events stats top logs".split(
    " ",
  ),
  ..."ns timeline shims doctor version completion images load tag rmi pull push login logout".split(" "),
  ..."save import commit history cp diff prune".split(" "),
];
const SHIM_VERBS = "state pids exec kill wait dump upgrade shutdown".split(" ");

test("holdfast --help names every verb, and each verb's --help has examples of it", async () => {
  const all = await cli.do(["--help"]);
  for (const verb of VERBS) {
    assert.match(all, new RegExp(`^  ${verb}[ |]`, "m"));
    const help = await cli.do([verb, "--help"]);
    assert.match(help, new RegExp(`^Usage: holdfast ${verb}`));
    assert.match(help, new RegExp(`Examples:\n(.*\n)*.*holdfast .*${verb}`), verb);
  }
  for (const verb of SHIM_VERBS) {
    assert.match(await cli.do(["shim", "--help"]), new RegExp(`^  ${verb} `, "m"));
    assert.match(await cli.do(["shim", "web", verb, "--help"]), /Examples:\n.*holdfast shim web/, verb);
  }
});

const DOCKER_WORDS: readonly (readonly [word: string, says: RegExp])[] = [
  ["unpause", /resume/],
  ["export", /holdfast cp/],
  ["search", /registry's own page/],
  ["tasks", /holdfast ps/],
  ["network", /--net host/],
  // Nothing that is near it.
  ["frobnicate", /--help tells the verbs/],
];

test("a slip of the pen is answered with what may be meant", async () => {
  const output = await cli.run(["rum"]);
  assert.equal(output.status, 2);
  assert.match(output.stderr, /unknown command 'rum'[\s\S]*run/);
  for (const [word, says] of DOCKER_WORDS) {
    const { status, stderr } = await cli.run([word, "x"]);
    assert.deepEqual([status, stderr.split("\n").length], [2, 2], word);
    assert.match(stderr, says, word);
  }
  assert.equal((await cli.run(["ps", "--nosuch"])).status, 2);
  assert.equal((await cli.run(["run", "--nosuch"])).status, 125);
});

/** What bash offers at the end of each line. */
async function completed(lines: readonly (readonly string[])[]): Promise<string[][]> {
  const words = lines.map((line) => line.map((word) => `'${word}'`).join(" "));
  const script = [
    `holdfast() { ${cli.program} "$@"; }`,
    "source <(holdfast completion bash)",
    `offer() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _holdfast; echo "\${COMPREPLY[*]}"; }`,
    ...words.map((line) => `offer ${line}`),
  ];
  const env = { HOLDFAST_ADDRESS: daemon.address, HOLDFAST_NAMESPACE: daemon.namespace };
  const output = await check(["bash", "-c", script.join("\n")], { env });
  return output
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" ").filter((word) => word !== ""));
}

test("bash completes verbs, flags, values of flags, ids and a shim's verbs", async () => {
  const [verbs, flags, ids, elsewhere, signals, files, shims, shimVerbs, spaces] = await completed([
    ["holdfast", "re"],
    ["holdfast", "run", "--mem"],
    ["holdfast", "logs", ""],
    ["holdfast", "-n", "other", "logs", ""],
    ["holdfast", "kill", "-s", "K"],
    ["holdfast", "run", "--rootfs", ""],
    ["holdfast", "shim", "w"],
    ["holdfast", "shim", "web", "s"],
    ["holdfast", "ps", "-n", ""],
  ]);
  assert.deepEqual(verbs, ["resume", "restart"]);
  assert.deepEqual(flags, ["--memory"]);
  assert.deepEqual(ids, ["web"]);
  assert.deepEqual(elsewhere, []);
  assert.deepEqual(signals, ["KILL"]);
  // None of ours: then bash takes file names.
  assert.deepEqual(files, []);
  // Of the whole host: others may have some.
  assert.ok(shims?.includes("web") && shims.every((id) => id.startsWith("w")), String(shims));
  assert.deepEqual(shimVerbs, ["state", "shutdown"]);
  assert.deepEqual(spaces, [daemon.namespace]);
});

test("zsh and fish get scripts of their own, other shells a no", async () => {
  assert.match(await cli.do(["completion", "zsh"]), /^autoload -U \+X bashcompinit && bashcompinit\n/);
  const fish = await cli.do(["completion", "fish"]);
  for (const verb of VERBS) assert.match(fish, new RegExp(`__fish_use_subcommand -a ${verb} -d `));
  assert.equal((await cli.run(["completion", "tcsh"])).status, 2);
});

interface Finding {
  check: string;
  level: string;
  found: string;
  advice?: string;
  /** All of them; `found` names the first few, which may be other people's. */
  items?: string[];
}

/** With a time of its own: other daemons and shims of this host are asked too, and tests stop some. */
async function findings(...flags: string[]): Promise<Map<string, Finding>> {
  const output = await cli.run(["doctor", "--json", "--timeout", "15s", ...flags]);
  const found = JSON.parse(output.stdout) as Finding[];
  const bad = found.some(({ level }) => level === "bad");
  assert.equal(output.status, bad ? 1 : 0);
  return new Map(found.map((finding) => [finding.check, finding]));
}

/** Whether our daemon is among those that are away. */
function isAway(found: Map<string, Finding>): boolean {
  const { items = [] } = found.get("shims whose daemon is away") ?? {};
  return items.some((item) => item.includes(daemon.address));
}

test("doctor looks at runtime, kernel, control groups, daemon and leftovers", async () => {
  const found = await findings();
  assert.match(found.get("OCI runtime")?.found ?? "", /runc version/);
  assert.match(found.get("control groups")?.found ?? "", /^v[12]/);
  assert.match(found.get("daemon")?.found ?? "", /answers in .*: version \d/);
  for (const check of ["kernel", "inotify", "privileges", "space in /run", "mounts of dead containers"]) {
    assert.ok(found.has(check), check);
  }
  assert.ok(!isAway(found));
});

test("doctor is not put off by a link that leads nowhere among the bundles", async () => {
  const loop = daemon.bundle("loop");
  symlinkSync(loop, loop);
  assert.ok((await findings()).has("bundles without a shim"));
  unlinkSync(loop);
});

test("doctor tells a daemon that hangs, one that is away, and a shim that hangs, with what to do", async () => {
  const shim = await daemon.shimPid("web");
  for (const pid of [daemon.pid, shim]) process.kill(pid, "SIGSTOP");
  try {
    const found = await findings("--timeout", "300ms");
    assert.equal(found.get("daemon")?.level, "bad");
    const hung = found.get("shims that do not answer");
    assert.equal(hung?.level, "bad");
    assert.ok(hung?.items?.some((item) => item.startsWith(`${shim} (web: stopped by a signal`)));
    assert.match(hung?.advice ?? "", /holdfast shim \d+ dump/);
  } finally {
    for (const pid of [daemon.pid, shim]) process.kill(pid, "SIGCONT");
  }
  await daemon.kill();
  try {
    const found = await findings();
    assert.ok(isAway(found));
    assert.equal(found.get("daemon")?.level, "bad");
  } finally {
    await daemon.launch();
  }
});
