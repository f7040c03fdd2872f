// Where output goes, by its URI: taken apart as RFC 3986 and containerd have it (3370, 8428).
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { parseUri } from "../../src/stdio/uri.ts";
import { Code } from "../../src/ttrpc/status.ts";
import { Playground } from "../harness/direct-shim.ts";
import { makeFifo } from "../harness/fifo.ts";
import { openFiles } from "../harness/processes.ts";
import { refusal } from "../harness/shim-client.ts";
import { fifoIn, Running, reading } from "./running.ts";

const place = await Playground.create();
after(() => place.close());

const parsed = (
  uri: string,
  scheme: string,
  path: string,
  query: readonly [string, string | undefined][] = [],
): void => {
  test(`${uri} is ${scheme || "a plain path"}: ${path}`, () =>
    assert.deepEqual(parseUri(uri), { scheme, path, query }));
};

parsed("/run/a%20b?c#d", "", "/run/a%20b?c#d");
parsed("/run/a:b", "", "/run/a:b");
parsed("relative", "", "relative");
parsed("file:///var/log/x", "file", "/var/log/x");
parsed("FILE:///var/log/X", "file", "/var/log/X");
parsed("file:/var/log/x", "file", "/var/log/x");
parsed("file://localhost/var/log/x", "file", "/var/log/x");
parsed("file://user@host:80/var/log/x", "file", "/var/log/x");
parsed("file:///a%20b%25c%3Fd%23e", "file", "/a b%c?d#e");
parsed("file:///a+b", "file", "/a+b");
parsed("file:///%C3%A9/%E2%82%AC", "file", "/é/€");
parsed("file:///x?max=3&flag#part", "file", "/x", [
  ["max", "3"],
  ["flag", undefined],
]);
parsed("file:///x#a?b", "file", "/x");
parsed("binary:///bin/log?a=1&a=2&b=&c+d=e%26f&&g==h", "binary", "/bin/log", [
  ["a", "1"],
  ["a", "2"],
  ["b", ""],
  ["c d", "e&f"],
  ["g", "=h"],
]);
parsed("fifo:///run/f", "fifo", "/run/f");
parsed("binary-v2:///l", "binary-v2", "/l");

for (const bad of [
  "file:",
  "file://",
  "file://host",
  "file:x/y",
  "file:///%zz",
  "file:///a%",
  "file:///%ff",
  "file:///a%00b",
]) {
  test(`${bad} is refused`, () => assert.throws(() => parseUri(bad), /invalid stdio URI/));
}

test("percent signs: a URI is decoded, a plain path is not, also of a fifo", async () => {
  const running = await Running.start(place, "percent");
  const odd = join(dirname(fifoIn(place, "x")), "a%41 b");
  mkdirSync(odd);
  const plain = makeFifo(join(odd, "f%41"));
  const logged = join(odd, "log%");
  await running.exec("e", ["sh", "-c", "echo out; echo err >&2"], {
    stdout: plain,
    stderr: `file://localhost${logged.replaceAll("%", "%25").replaceAll(" ", "%20")}?x=1#y`,
  });
  const output = reading(plain);
  await running.shim.wait("percent", "e");
  await running.shim.delete("percent", "e");
  await output.ended;
  assert.equal(output.text, "out\n");
  assert.equal(readFileSync(logged, "utf8"), "err\n");
  await running.end();
});

test("what cannot be used is refused by name, and leaves no descriptor open", async () => {
  const running = await Running.start(place, "bad");
  const good = fifoIn(place, "good");
  const shim = await running.shimPid();
  const before = openFiles(shim);
  const bad = [
    ["/not/there", /open \/not\/there: no such file/],
    ["http://host/x", /unknown STDIO scheme http in http:\/\/host\/x/],
    ["file://nowhere", /invalid stdio URI file:\/\/nowhere: no absolute path/],
    [`file://${place.directory}`, /Is a directory/],
    ["binary:///not/there", /failed to start the logging binary of binary:\/\/\/not\/there/],
  ] as const;
  let n = 0;
  for (const [uri, words] of bad) {
    for (const stdio of [
      { stdin: good, stdout: good, stderr: uri },
      { stdin: good, stdout: uri },
      { stdin: uri === "/not/there" ? uri : good, stdout: uri, terminal: true },
    ]) {
      n += 1;
      await running.shim.exec("bad", `e${n}`, ["true"], stdio);
      const message = await refusal(Code.UNKNOWN, running.shim.start("bad", `e${n}`));
      if (uri !== "/not/there") assert.match(message, words);
      await running.shim.delete("bad", `e${n}`);
    }
  }
  assert.deepEqual(openFiles(shim), before);
  await running.end();
});

test("nothing is left behind", async () => assert.equal(await place.leftovers(), ""));
