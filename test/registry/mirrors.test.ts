// hosts.toml as containerd reads it: mirrors in their order, what each may do, paths, headers, and what a registry that is not there or lies makes of it.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { isLoopback, registryHosts } from "../../src/registry/hosts.ts";
import { Cli } from "../cli/cli.ts";
import type { Output } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { freePort } from "./docker-registry.ts";
import { FaultyRegistry } from "./faulty-registry.ts";
import { makeImage } from "./image.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
const hostsDir = join(daemon.directory, "certs.d");
const image = makeImage();
const NAME = "upstream.test/team/app:1";
let mirror: FaultyRegistry;
let server: FaultyRegistry;
before(async () => {
  [mirror, server] = await Promise.all([FaultyRegistry.start(), FaultyRegistry.start()]);
  for (const each of [mirror, server]) each.add("1", image);
});
afterEach(async () => {
  for (const each of [mirror, server]) each.reset();
  rmSync(hostsDir, { recursive: true, force: true });
  await cli.run(["rmi", NAME]);
});
after(async () => {
  cli.close();
  await mirror.close();
  await server.close();
  await daemon.close();
});

function hostsToml(text: string, registry = "upstream.test"): void {
  mkdirSync(join(hostsDir, registry), { recursive: true });
  writeFileSync(join(hostsDir, registry, "hosts.toml"), text);
}

const both = (more = ""): string =>
  `server = "http://${server.host}"\n[host."http://${mirror.host}"]\n${more === "" ? "" : `  ${more}\n`}`;
const pull = (): Promise<Output> => cli.run(["pull", "--hosts-dir", hostsDir, NAME]);
const succeeds = async (): Promise<void> => {
  const output = await pull();
  assert.equal(output.status, 0, output.stderr);
};

test("a mirror is asked first, and told of which registry; the server is left alone", async () => {
  hostsToml(both());
  await succeeds();
  assert.equal(server.seen.length, 0);
  assert.ok(
    mirror.seen.every(({ path }) => path.startsWith("/v2/team/app/") && path.includes("ns=upstream.test")),
  );
});

test("what a mirror has not, and a mirror that is not there, send us on to the server", async () => {
  hostsToml(both());
  mirror.fault = (_request, response) => {
    response.writeHead(404).end();
    return true;
  };
  await succeeds();
  assert.ok(server.seen.length > 0);
  await cli.do(["rmi", NAME]);
  server.reset();
  hostsToml(`server = "http://${server.host}"\n[host."http://127.0.0.1:${await freePort()}"]\n`);
  await succeeds();
  assert.ok(server.seen.length > 0);
});

test("a mirror that may not resolve is asked for content alone", async () => {
  hostsToml(both('capabilities = ["pull"]'));
  await succeeds();
  assert.deepEqual(
    server.seen.map(({ method, path }) => `${method} ${path.split("?")[0]}`),
    ["HEAD /v2/team/app/manifests/1"],
  );
  assert.equal(mirror.asked(/manifests\/1(\?|$)/).length, 0);
  assert.ok(mirror.asked(/GET .*blobs/).length > 0);
});

test("a mirror that lies is not believed, nothing is kept, and nobody else is asked in its place", async () => {
  hostsToml(both('capabilities = ["pull"]'));
  const [, layer] = image.layers;
  mirror.fault = ({ method, path }, response, body = Buffer.alloc(0)) => {
    if (method !== "GET" || !path.includes(layer?.digest ?? "none")) return false;
    response.end(randomBytes(body.length));
    return true;
  };
  const output = await pull();
  assert.equal(output.status, 1);
  assert.match(output.stderr, new RegExp(`${mirror.host} gives something else for ${layer?.digest}`));
  assert.equal(server.asked(/blobs/).length, 0);
  assert.equal((await daemon.ctr.do(["content", "ls", "-q"])).trim(), "");
  assert.equal((await daemon.ctr.do(["leases", "ls", "-q"])).trim(), "");
});

test("paths and headers are as the file has them", async () => {
  hostsToml(
    `server = "http://${server.host}"\n[host."http://${mirror.host}/mirrors/one"]\n  override_path = true\n  [host."http://${mirror.host}/mirrors/one".header]\n    x-one = "1"\n    x-two = ["2", "3"]\n`,
  );
  await succeeds();
  const [first] = mirror.seen;
  assert.match(first?.path ?? "", /^\/mirrors\/one\/team\/app\/manifests\/1/);
  assert.equal(first?.headers["x-one"], "1");
  assert.equal(first?.headers["x-two"], "2, 3");
});

test("a file that makes no sense ends the pull: nobody is asked in place of those whom it may have meant", async () => {
  for (const [text, says] of [
    ["server = [", /hosts\.toml/],
    [both('capabilities = ["fly"]'), /unknown capability fly/],
    [both('skip_verify = "yes"'), /skip_verify/],
    ['server = "ftp://x"', /hosts\.toml/],
  ] as const) {
    hostsToml(text);
    const output = await pull();
    assert.equal(output.status, 1, text);
    assert.match(output.stderr, says);
  }
  assert.equal(server.seen.length + mirror.seen.length, 0);
});

test("_default stands for registries without a directory; a port has two spellings", async () => {
  hostsToml(`server = "http://${server.host}"\n`, "_default");
  await succeeds();
  const hosts = (registry: string): string | undefined =>
    registryHosts(registry, { directories: [hostsDir], defaultScheme: "" })[0]?.host;
  hostsToml('server = "https://under.test"\n', "with.test_5000_");
  hostsToml('server = "https://colon.test"\n', "other.test:5000");
  assert.equal(hosts("with.test:5000"), "under.test");
  assert.equal(hosts("other.test:5000"), "colon.test");
  assert.equal(hosts("any.test"), server.host);
});

test("registries that no file is about", () => {
  const scheme = (registry: string, defaultScheme = ""): string => {
    const [host] = registryHosts(registry, { directories: [], defaultScheme });
    return `${host?.scheme}://${host?.host}${host?.path}${host?.mayBePlain === true ? " or plain" : ""}`;
  };
  assert.equal(scheme("docker.io"), "https://registry-1.docker.io/v2");
  assert.equal(scheme("quay.io"), "https://quay.io/v2");
  assert.equal(scheme("quay.io", "http"), "http://quay.io/v2");
  assert.equal(scheme("localhost:5000"), "https://localhost:5000/v2 or plain");
  assert.equal(scheme("127.0.0.1:80"), "http://127.0.0.1:80/v2");
  assert.equal(scheme("localhost"), "https://localhost/v2");
  for (const host of ["localhost", "LOCALHOST:5000", "127.1.2.3:80", "[::1]:5000"])
    assert.ok(isLoopback(host), host);
  for (const host of ["localhost.example.com", "127.example.com", "128.0.0.1"])
    assert.ok(!isLoopback(host), host);
});
