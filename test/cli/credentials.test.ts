// Docker's credential helpers, also such as do not do what they should: the user is told in a line, no secret is shown, and nothing waits for ever.
import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loginFor } from "../../src/cli/images/credentials.ts";
import { Problem } from "../../src/cli/text/problem.ts";

const HOST = "registry.test";
const directory = mkdtempSync(join(tmpdir(), "holdfast-credentials-"));
const { DOCKER_CONFIG, PATH } = process.env;
before(() => {
  mkdirSync(join(directory, "bin"));
  process.env.DOCKER_CONFIG = directory;
  process.env.PATH = `${join(directory, "bin")}:${PATH}`;
});
after(() => {
  Object.assign(process.env, { PATH, ...(DOCKER_CONFIG !== undefined && { DOCKER_CONFIG }) });
  if (DOCKER_CONFIG === undefined) delete process.env.DOCKER_CONFIG;
  rmSync(directory, { recursive: true, force: true });
});

const configure = (config: object): void =>
  writeFileSync(join(directory, "config.json"), JSON.stringify(config));

function helper(name: string, script: string): void {
  const path = join(directory, "bin", `docker-credential-${name}`);
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
}

const answer = (username: string, secret: string): string =>
  `echo '${JSON.stringify({ ServerURL: HOST, Username: username, Secret: secret })}'`;

test("a registry's own helper goes before the one for all, and both before what is in the file", async () => {
  helper("own", answer("own", "1"));
  helper("all", `read -r server; ${answer("all", "2")}`);
  const auths = { [HOST]: { auth: Buffer.from("file:3").toString("base64") } };
  configure({ auths, credsStore: "all", credHelpers: { [HOST]: "own" } });
  assert.deepEqual(await loginFor(HOST), { username: "own", secret: "1" });
  assert.deepEqual(await loginFor("other.test"), { username: "all", secret: "2" });
  helper("all", "echo credentials not found in native keychain; exit 1");
  configure({ auths, credsStore: "all" });
  assert.deepEqual(await loginFor(HOST), { username: "file", secret: "3" });
  assert.equal(await loginFor("other.test"), undefined);
});

test("a helper's token is one for others, and Docker's own registry is asked for by its old address", async () => {
  helper(
    "hub",
    `read -r server; [ "$server" = https://index.docker.io/v1/ ] || exit 3; ${answer("<token>", "t")}`,
  );
  configure({ credsStore: "hub" });
  assert.deepEqual(await loginFor("registry-1.docker.io"), { username: "", secret: "t" });
});

const SECRET = "s3cret";
for (const [what, script, says] of [
  ["fails", "echo no keyring; exit 1", /^docker-credential-bad get: no keyring$/],
  ["fails without a word", "exit 7", /^docker-credential-bad get: it ended with 7$/],
  ["is killed", "kill -9 $$", /^docker-credential-bad get: it ended with SIGKILL$/],
  ["prints rubbish", `echo '{"Username":"u","Secret":"${SECRET}"'`, /its answer is no JSON object$/],
  ["prints a secret alone", `echo '"${SECRET}"'`, /its answer is no JSON object$/],
  ["prints nothing", "true", /its answer is no JSON object$/],
  [
    "prints something else",
    `echo '{"user":"u","secret":"${SECRET}"}'`,
    /no Username and Secret in its answer$/,
  ],
  ["prints without end", "exec cat /dev/zero", /the answer is too long$/],
] as const) {
  test(`a helper that ${what} is an error that says so`, async () => {
    helper("bad", script);
    configure({ credsStore: "bad" });
    await assert.rejects(loginFor(HOST), (error: Error) => {
      assert.ok(error instanceof Problem, String(error));
      assert.match(error.message, says);
      assert.doesNotMatch(error.message, new RegExp(SECRET));
      return true;
    });
  });
}

test("a helper that never answers is given up, though what it has started holds its output open", async () => {
  const pid = join(directory, "pid");
  helper("bad", `sleep 60 & echo $! >${pid}; wait`);
  configure({ credsStore: "bad" });
  try {
    await assert.rejects(loginFor(HOST, 300), /docker-credential-bad get: no answer in 0\.3 s/);
  } finally {
    if (existsSync(pid)) process.kill(Number(readFileSync(pid, "utf8")), "SIGKILL");
  }
});

test("a helper whose name leads elsewhere is none", async () => {
  for (const name of ["../evil", "a b", "a/b"]) {
    configure({ credsStore: name });
    await assert.rejects(loginFor(HOST), /is no helper/);
  }
});
