// What the build takes from elsewhere is what we have tried: the engine's source, and lmdb's addon.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { deb822Sources, lineSources } from "../../scripts/apt-sources.ts";
import { withShortError } from "../../scripts/node-programs.ts";
import { demandHash, quickjsSource } from "../../scripts/quickjs.ts";

const directory = mkdtempSync(join(tmpdir(), "holdfast-sources-"));
after(() => rmSync(directory, { recursive: true }));

const TEXT = "Attempting to write page at position %u, size %u, blocks %u, buffer sizes %i %i %i\0";

test("lmdb's text that is too long is cut, and the rest of the addon is left alone", () => {
  const addon = Buffer.from(`before\0${TEXT}after\0`);
  const { length } = addon;
  const patched = withShortError(addon).toString();
  assert.equal(patched.length, length);
  const [before, cut, ...rest] = patched.split("\0").filter((part) => part !== "");
  assert.deepEqual(
    [before, cut, ...rest],
    ["before", "Attempting to write page at position %u, size %u", "after"],
  );
});

test("an addon where that text is not, or twice, or another one, fails the build", () => {
  for (const text of ["nothing\0", TEXT + TEXT, TEXT.replace("blocks %u", "blocks %lu")]) {
    assert.throws(() => withShortError(Buffer.from(text)), /upstream-lmdb\.md/);
  }
});

test("an archive of another hash than ours is refused", () => {
  const path = join(directory, "archive");
  writeFileSync(path, "the one that was tried");
  demandHash(path, createHash("sha256").update("the one that was tried").digest("hex"));
  writeFileSync(path, "another one");
  assert.throws(
    () => demandHash(path, createHash("sha256").update("the one that was tried").digest("hex")),
    /SHA-256/,
  );
});

test("an archive that Debian's key has not signed does not supply the engine, whatever the machine trusts", (t) => {
  const given = process.env.HOLDFAST_QUICKJS_SRC;
  delete process.env.HOLDFAST_QUICKJS_SRC;
  t.after(() => {
    if (given !== undefined) process.env.HOLDFAST_QUICKJS_SRC = given;
  });
  const archive = join(directory, "foreign");
  const suite = join(archive, "dists/trixie");
  mkdirSync(join(suite, "main/source"), { recursive: true });
  writeFileSync(join(suite, "main/source/Sources"), "");
  const empty = createHash("sha256").update("").digest("hex");
  const release = ["Origin: Debian", "Suite: trixie", "Codename: trixie", "Components: main", "SHA256:"];
  writeFileSync(join(suite, "Release"), `${release.join("\n")}\n ${empty} 0 main/source/Sources\n`);
  const cache = join(directory, "cache");
  mkdirSync(cache);
  assert.throws(() => quickjsSource(cache, [`file:${archive}`]), /is not signed/);
  assert.throws(() => quickjsSource(cache, [`file:${archive}`]), /HOLDFAST_QUICKJS_SRC/);
  assert.deepEqual(readdirSync(cache), []);
});

test("apt's entries are read in both forms; what they say of keys is not taken over", () => {
  const deb822 = `Types: deb
URIs: http://one.invalid/debian
  http://two.invalid/debian
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /somewhere.gpg

Types: deb
Enabled: no
URIs: http://off.invalid/debian
Suites: trixie
Components: main

Types: deb
URIs: http://partial.invalid/debian
Suites: trixie
Components: contrib
`;
  assert.deepEqual(deb822Sources(deb822), [
    { uri: "http://one.invalid/debian", suite: "trixie" },
    { uri: "http://one.invalid/debian", suite: "trixie-updates" },
    { uri: "http://two.invalid/debian", suite: "trixie" },
    { uri: "http://two.invalid/debian", suite: "trixie-updates" },
  ]);
  const lines =
    "# deb http://no.invalid trixie main\ndeb [signed-by=/x.gpg trusted=yes] http://a.invalid trixie main\ndeb http://b.invalid trixie contrib\n";
  assert.deepEqual(lineSources(lines), [{ uri: "http://a.invalid", suite: "trixie" }]);
});
