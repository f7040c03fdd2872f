// Registries that want to know who asks: passwords in Docker's files, of its helpers and on the command line, tokens, and TLS with an authority of one's own.
import assert from "node:assert/strict";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, request as forward, type IncomingMessage, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import type { Output } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { type Certificates, DockerRegistry, makeCertificates, PASSWORD, USER } from "./docker-registry.ts";
import { FaultyRegistry } from "./faulty-registry.ts";
import { makeImage, putImage, type TestImage } from "./image.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
const dockerConfig = join(daemon.directory, "docker");
const configFile = join(dockerConfig, "config.json");
const hostsDir = join(daemon.directory, "certs.d");
const bin = join(daemon.directory, "helpers");
let certificates: Certificates;
let registry: DockerRegistry;
const image = makeImage();

before(async () => {
  certificates = await makeCertificates(
    join(daemon.directory, "tls"),
    "127.0.0.1",
    "localhost",
    "registry.test",
  );
  const directory = join(daemon.directory, "registry");
  registry = await DockerRegistry.start({ directory, password: true, tls: certificates });
  // The test's own client takes any certificate.
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  await putImage(registry, "private", "1", image);
  delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  for (const path of [dockerConfig, bin]) mkdirSync(path);
  // As everybody has to trust it who is not on this machine.
  const hosts = join(hostsDir, registry.host);
  mkdirSync(hosts, { recursive: true });
  copyFileSync(certificates.ca, join(hosts, "ca.crt"));
  writeFileSync(
    join(hosts, "hosts.toml"),
    `server = "https://${registry.host}"\nca = "ca.crt"\nskip_verify = false\n`,
  );
});
after(async () => {
  cli.close();
  await registry.close();
  await daemon.close();
});

const env = (): Record<string, string> => ({
  DOCKER_CONFIG: dockerConfig,
  PATH: `${bin}:${process.env.PATH}`,
});
const name = (): string => `${registry.host}/private:1`;
const configure = (config: object): void => writeFileSync(configFile, JSON.stringify(config));
const auth = (password: string): string => Buffer.from(`${USER}:${password}`).toString("base64");

async function pull(...flags: string[]): Promise<Output> {
  const output = await cli.run(["pull", "--hosts-dir", hostsDir, ...flags, name()], { env: env() });
  await cli.run(["rmi", name()]);
  return output;
}

async function succeeds(...flags: string[]): Promise<void> {
  const output = await pull(...flags);
  assert.equal(output.status, 0, output.stderr);
}

async function isRefused(says: RegExp, ...flags: string[]): Promise<void> {
  const output = await pull(...flags);
  assert.equal(output.status, 1);
  assert.match(output.stderr, says);
  assert.doesNotMatch(output.stderr + daemon.log, new RegExp(PASSWORD), "a password is shown");
}

test("without a password, and with a wrong one, nothing is to be had", async () => {
  configure({});
  await isRefused(/there are none for it: authorization failed/);
  configure({ auths: { [registry.host]: { auth: auth("wrong") } } });
  await isRefused(/the registry wants a login \(401\)/);
  await isRefused(/the registry wants a login \(401\)/, "--user", `${USER}:wrong`);
});

test("Docker's configuration file, in its forms, and --user, which goes before it", async () => {
  for (const key of [registry.host, `https://${registry.host}`, `https://${registry.host}/v1/`]) {
    configure({ auths: { [key]: { auth: auth(PASSWORD) } } });
    await succeeds();
  }
  configure({ auths: { [registry.host]: { username: USER, password: PASSWORD } } });
  await succeeds();
  configure({ auths: { [registry.host]: { auth: auth("wrong") } } });
  await succeeds("--user", `${USER}:${PASSWORD}`);
  writeFileSync(configFile, "{ no json");
  await isRefused(/config\.json: no JSON object/);
});

test("Docker's helper programs, one for a registry and one for all", async () => {
  const helper = join(bin, "docker-credential-test");
  writeFileSync(
    helper,
    `#!/bin/sh\nread -r server\n[ "$1 $server" = "get ${registry.host}" ] || { echo "credentials not found in native keychain"; exit 1; }\nprintf '{"ServerURL":"%s","Username":"${USER}","Secret":"${PASSWORD}"}' "$server"\n`,
  );
  chmodSync(helper, 0o755);
  configure({ credHelpers: { [registry.host]: "test" } });
  await succeeds();
  configure({ credsStore: "test" });
  await succeeds();
  configure({ credHelpers: { "other.test": "test" } });
  await isRefused(/authorization failed/);
  configure({ credsStore: "absent" });
  await isRefused(/docker-credential-absent/);
});

test("login asks the registry, and keeps what it takes for the owner alone; logout forgets it", async () => {
  configure({ auths: { "other.test": { auth: "eDp5" } }, detachKeys: "ctrl-x" });
  const login = (password: string): Promise<Output> =>
    cli.run(["login", "--hosts-dir", hostsDir, "-u", USER, "--password-stdin", registry.host], {
      env: env(),
      stdin: `${password}\n`,
    });
  const wrong = await login("wrong");
  assert.equal(wrong.status, 1);
  assert.match(wrong.stderr, /\(401\)/);
  assert.doesNotMatch(readFileSync(configFile, "utf8"), new RegExp(registry.host));
  const right = await login(PASSWORD);
  assert.equal(right.status, 0, right.stderr);
  assert.equal(statSync(configFile).mode & 0o777, 0o600);
  const kept = JSON.parse(readFileSync(configFile, "utf8")) as { detachKeys: string; auths: object };
  assert.equal(kept.detachKeys, "ctrl-x");
  assert.deepEqual(Object.keys(kept.auths), ["other.test", registry.host]);
  await succeeds();
  assert.equal(
    (await cli.run(["logout", registry.host], { env: env() })).stdout,
    `${registry.host}: forgotten\n`,
  );
  await isRefused(/authorization failed/);
  assert.match((await cli.run(["logout", registry.host], { env: env() })).stdout, /nothing was kept/);
});

test("a certificate of an unknown authority is refused, and taken as the files say", async () => {
  configure({});
  const user = ["--user", `${USER}:${PASSWORD}`];
  const toml = join(hostsDir, registry.host, "hosts.toml");
  const server = `server = "https://${registry.host}"\n`;
  writeFileSync(toml, `${server}skip_verify = false\n`);
  await isRefused(/certificate/, ...user);
  writeFileSync(toml, `${server}skip_verify = true\n`);
  await succeeds(...user);
  writeFileSync(toml, `${server}ca = ["${certificates.ca}"]\nskip_verify = false\n`);
  await succeeds(...user);
  // Docker's way: no hosts.toml, files beside it.
  writeFileSync(toml, "");
  await succeeds(...user);
  writeFileSync(toml, `${server}ca = "absent.crt"\n`);
  await isRefused(/absent\.crt/, ...user);
});

/** A server of tokens, which notes what it was asked. */
async function tokenServer(asked: { url: URL; body: string; request: IncomingMessage }[]): Promise<Server> {
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk));
    request.on("end", () => {
      asked.push({ url: new URL(request.url ?? "", "http://x"), body, request });
      response.end(JSON.stringify({ token: `token-${asked.length}`, expires_in: 300 }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function withTokens(
  offered: TestImage,
  act: (
    host: string,
    asked: { url: URL; body: string; request: IncomingMessage }[],
    bearers: Set<string>,
  ) => Promise<void>,
  /** Whether a token is no longer good for a request. */
  isOver: (authorization: string, path: string) => boolean = () => false,
): Promise<void> {
  const asked: { url: URL; body: string; request: IncomingMessage }[] = [];
  const tokens = await tokenServer(asked);
  const { port } = tokens.address() as { port: number };
  const faulty = await FaultyRegistry.start();
  faulty.add("1", offered);
  const bearers = new Set<string>();
  faulty.fault = ({ headers, path }, response) => {
    const { authorization } = headers;
    if (authorization?.startsWith("Bearer token-") && !isOver(authorization, path)) {
      bearers.add(authorization);
      return false;
    }
    const challenge = `Bearer realm="http://127.0.0.1:${port}/token",service="registry, \\"quoted\\"",scope="repository:team/app:pull"`;
    response.writeHead(401, { "www-authenticate": challenge }).end();
    return true;
  };
  try {
    await act(faulty.host, asked, bearers);
  } finally {
    await faulty.close();
    tokens.closeAllConnections();
    tokens.close();
  }
}

test("a token is fetched once, with the password or without, and is what goes to the registry", async () => {
  configure({});
  await withTokens(makeImage(), async (host, asked, bearers) => {
    const run = await cli.run(["run", "--rm", `${host}/team/app:1`], { env: env() });
    assert.equal(run.stdout, "pulled\n", run.stderr);
    assert.equal(asked.length, 1);
    const [{ url, request } = assert.fail()] = asked;
    assert.deepEqual(
      [...url.searchParams],
      [
        ["service", 'registry, "quoted"'],
        ["scope", "repository:team/app:pull"],
      ],
    );
    assert.equal(request.headers.authorization, undefined);
    assert.deepEqual([...bearers], ["Bearer token-1"]);
    await cli.do(["pull", "-q", "--user", "me:secret", `${host}/team/app:1`], { env: env() });
    assert.equal(
      asked[1]?.request.headers.authorization,
      `Basic ${Buffer.from("me:secret").toString("base64")}`,
    );
    assert.equal(asked[1]?.url.searchParams.get("account"), "me");
  });
});

test("an identity token is exchanged, not sent to the registry", async () => {
  await withTokens(makeImage(), async (host, asked, bearers) => {
    configure({ auths: { [host]: { auth: "", identitytoken: "refresh me" } } });
    await cli.do(["pull", "-q", `${host}/team/app:1`], { env: env() });
    const [{ body, request } = assert.fail()] = asked;
    assert.equal(request.method, "POST");
    const form = new URLSearchParams(body);
    assert.equal(form.get("grant_type"), "refresh_token");
    assert.equal(form.get("refresh_token"), "refresh me");
    assert.equal(form.get("scope"), "repository:team/app:pull");
    assert.deepEqual([...bearers], ["Bearer token-1"]);
  });
});

test("a token that ends in the middle of a pull is fetched anew, and what is left is asked for with the new one", async () => {
  configure({});
  const offered = makeImage();
  const layer = offered.layers[1]?.digest ?? "none";
  const refused: string[] = [];
  const isOver = (authorization: string, path: string): boolean => {
    const ends = authorization === "Bearer token-1" && path.includes(layer);
    if (ends) refused.push(path);
    return ends;
  };
  await withTokens(
    offered,
    async (host, asked, bearers) => {
      const run = await cli.run(["run", "--rm", `${host}/team/app:1`], { env: env() });
      assert.equal(run.stdout, "pulled\n", run.stderr);
      assert.equal(refused.length, 1);
      assert.equal(asked.length, 2);
      assert.deepEqual([...bearers], ["Bearer token-1", "Bearer token-2"]);
    },
    isOver,
  );
});

test("a token that is never good is not fetched again and again", async () => {
  configure({});
  await withTokens(
    makeImage(),
    async (host, asked) => {
      const output = await cli.run(["pull", `${host}/team/app:1`], { env: env() });
      assert.equal(output.status, 1);
      assert.match(output.stderr, /the registry wants a login \(401\)/);
      assert.ok(asked.length <= 2, `${asked.length} tokens`);
    },
    () => true,
  );
});

test("a registry that wants to know its clients by a certificate gets the one that the files say", async () => {
  configure({});
  const offered = await FaultyRegistry.start();
  offered.add("1", image);
  const { ca, cert, key } = certificates;
  const read = (file: string): Buffer => readFileSync(file);
  const server = createSecureServer(
    { ca: read(ca), cert: read(cert), key: read(key), requestCert: true, rejectUnauthorized: true },
    (request, response) => {
      const { method = "", url = "", headers } = request;
      forward(`http://${offered.host}${url}`, { method, headers }, (answer) => {
        response.writeHead(answer.statusCode ?? 500, answer.headers);
        answer.pipe(response);
      }).end();
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const host = `127.0.0.1:${port}`;
  const place = join(hostsDir, host);
  mkdirSync(place);
  const both = join(place, "both.pem");
  writeFileSync(both, Buffer.concat([read(cert), read(key)]));
  const pullBy = async (client: string): Promise<Output> => {
    writeFileSync(
      join(place, "hosts.toml"),
      `server = "https://${host}"\nca = "${ca}"\nskip_verify = false\n${client}`,
    );
    return cli.run(["pull", "-q", "--hosts-dir", hostsDir, `${host}/team/app:1`], { env: env() });
  };
  try {
    assert.match((await pullBy("")).stderr, /certificate|handshake|alert|ECONNRESET|socket/i);
    for (const client of [
      `client = [["${cert}", "${key}"]]\n`,
      `client = "both.pem"\n`,
      `client = ["${both}"]\n`,
    ]) {
      const output = await pullBy(client);
      assert.equal(output.status, 0, `${client}: ${output.stderr}`);
      await cli.do(["rmi", `${host}/team/app:1`]);
    }
    // Docker's way.
    copyFileSync(cert, join(place, "client.cert"));
    copyFileSync(key, join(place, "client.key"));
    copyFileSync(ca, join(place, "authority.crt"));
    writeFileSync(join(place, "hosts.toml"), "");
    await cli.do(["pull", "-q", "--hosts-dir", hostsDir, `${host}/team/app:1`], { env: env() });
    assert.match((await pullBy('client = [["absent.cert", "absent.key"]]\n')).stderr, /absent\.cert/);
  } finally {
    server.closeAllConnections();
    server.close();
    await offered.close();
  }
});
