// Command lines that make no sense, as users of docker write them: what is wrong is said on one line, with what does the same or where to read on,
// and before anybody is asked for a daemon.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Cli } from "./cli.ts";

/** There is no daemon. */
const cli = new Cli();
after(() => cli.close());

const USAGE = 2;
const NOT_STARTED = 125;

const WRONG: readonly (readonly [status: number, says: RegExp, words: readonly string[]])[] = [
  [USAGE, /^unknown option '--nosuch': "holdfast ps --help" tells more$/, ["ps", "--nosuch"]],
  [USAGE, /^unknown option '--nosuch': "holdfast --help" tells more$/, ["--nosuch"]],
  [USAGE, /^missing required argument 'id': "holdfast rm --help" tells more$/, ["rm"]],
  [
    USAGE,
    /^unknown option '--nosuch': "holdfast shim --help" tells more$/,
    ["shim", "web", "state", "--nosuch"],
  ],
  [USAGE, /^unknown command 'nosuch': /, ["help", "nosuch"]],
  [USAGE, /^unknown command 'unpause': "holdfast resume"$/, ["help", "unpause"]],
  [USAGE, /^unknown command 'constructor': --help tells the verbs$/, ["constructor"]],
  [USAGE, /^unknown command '__proto__': --help tells the verbs$/, ["help", "__proto__"]],
  [NOT_STARTED, /^cannot connect to /, ["run", "--platform", "constructor", "--pull", "never", "web"]],
  [USAGE, /^unknown command 'psa': did you mean ps\?$/, ["help", "psa"]],
  [USAGE, /^--namespace: a namespace has a name$/, ["ps", "-n", ""]],
  [USAGE, /^--namespace n\\x1bü: no name of a namespace$/, ["ps", "-n", "n\x1bü"]],
  [USAGE, /^--namespace a\/b: no name of a namespace$/, ["shims", "--namespace=a/b"]],
  [USAGE, /^no signal is called NOSUCH$/, ["kill", "-s", "NOSUCH", "web"]],
  [USAGE, /^no signal is called NOSUCH$/, ["stop", "-s", "NOSUCH", "web"]],
  [USAGE, /^no signal is called NOSUCH$/, ["restart", "-s", "NOSUCH", "web"]],
  [USAGE, /^--exec-id is for one container$/, ["kill", "--exec-id", "e", "web", "db"]],
  [USAGE, /^change what\? /, ["update", "web"]],
  [USAGE, /^neither of them is in a container/, ["cp", "here", "there"]],
  [USAGE, /^from our input to our output/, ["cp", "-", "-"]],
  [USAGE, /^give an image, or --rootfs DIR/, ["create"]],
  [NOT_STARTED, /^give an image, or --rootfs DIR/, ["run", "--rm"]],
  [NOT_STARTED, /^unknown option '-p': a container has no network of its own/, ["run", "-p", "80:80", "web"]],
  [
    USAGE,
    /^unknown option '--restart=always': nothing starts a container again/,
    ["create", "--restart=always", "web"],
  ],
  [NOT_STARTED, /^unknown option '--nosuch': "holdfast run --help" tells more$/, ["run", "--nosuch", "web"]],
  [NOT_STARTED, /^--net bridge: this knows host and none$/, ["run", "--network", "bridge", "web"]],
  [NOT_STARTED, /^no signal is called NOSUCH$/, ["run", "--stop-signal", "NOSUCH", "web"]],
  [NOT_STARTED, /^no capability is called NET_NOSUCH/, ["run", "--cap-add", "NET_NOSUCH", "web"]],
  [
    NOT_STARTED,
    /^--ulimit nofile=9:8: the soft limit is above the hard one$/,
    ["run", "--ulimit", "nofile=9:8", "web"],
  ],
  [NOT_STARTED, /^--ulimit files=9: give it as in nofile=1024/, ["run", "--ulimit", "files=9", "web"]],
];

/** Flags of docker's that we do not have: what does the same is named, and no verb is without its help where nothing is known. */
const OTHERS_FLAGS: readonly (readonly [says: RegExp, words: readonly string[]])[] = [
  [/^unknown option '--format': --json prints all/, ["ps", "--format", "{{.ID}}"]],
  [/^unknown option '--filter': --json prints all/, ["ls", "--filter", "status=running"]],
  [/^unknown option '-l': the newest container comes first/, ["ps", "-l"]],
  [/^unknown option '-f': --json prints all/, ["inspect", "-f", "{{.State.Pid}}", "web"]],
  [/^unknown option '-a': all images are listed/, ["images", "-a"]],
  [/^unknown option '--since=1h': a log has lines and no times/, ["logs", "--since=1h", "web"]],
  [/^unknown option '-v': what an image declares as volumes/, ["rm", "-fv", "web"]],
  [/^unknown option '--since': .* holdfast timeline/, ["events", "--since", "1h"]],
  [/^unknown command 'prune': "holdfast prune"$/, ["system", "prune"]],
  [/^unknown option '-v': "holdfast --help" tells more$/, ["-v"]],
];

for (const [says, words] of OTHERS_FLAGS) {
  test(`docker's word: holdfast ${words.join(" ")}`, async () => {
    const { status, stdout, stderr } = await cli.run(words);
    assert.deepEqual([status, stdout], [USAGE, ""]);
    assert.match(stderr.replace(/^holdfast: /, "").trimEnd(), says);
  });
}

for (const [status, says, words] of WRONG) {
  test(`holdfast ${words.join(" ")}`, async () => {
    const output = await cli.run(words);
    assert.deepEqual([output.status, output.stdout], [status, ""]);
    const [line = "", ...more] = output.stderr.trimEnd().split("\n");
    assert.deepEqual(more, []);
    assert.match(line.replace(/^holdfast: /, ""), says);
    assert.ok(line.startsWith("holdfast: "), line);
  });
}

test("help tells of a verb by each of its names, and without one of all", async () => {
  assert.match(await cli.do(["help", "ps"]), /^Usage: holdfast ps\|ls /);
  assert.match(await cli.do(["help", "ls"]), /^Usage: holdfast ps\|ls /);
  assert.equal(await cli.do(["help"]), await cli.do(["--help"]));
  assert.match(await cli.do(["help", "stop"]), /\(default: 10s\)/);
});

test("a command line that makes sense is told that there is no daemon", async () => {
  for (const words of [["ps"], ["stop", "-t", "5", "web"], ["stats", "--no-stream"], ["ps", "--no-trunc"]]) {
    const { status, stderr } = await cli.run(words);
    assert.equal(status, 1, words.join(" "));
    assert.match(stderr, /^holdfast: cannot connect to .*: no such file: is holdfastd running\?\n$/);
  }
});
