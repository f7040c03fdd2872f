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

test("hosts are asked in the order of the file, each by what it may do, and the server last", () => {
  const host = (name: string, more: string): string => `[host."${name}"]\n${more}\n`;
  hostsToml(
    `server = "https://server.test"\ncapabilities = ["push"]\n${[
      host("https://second.test:5000/v2/", 'capabilities = ["pull", "Resolve"]\nskip_verify = true'),
      host("first.test/cache", 'ca = ["a.crt", "/b.crt"]\ndial_timeout = "1m2s"'),
      host("http://upstream.test/x", 'override_path = true\nclient = [["c.cert", "c.key"], "d.pem"]'),
    ].join("")}`,
  );
  const found = registryHosts("upstream.test", {
    directories: [hostsDir],
    defaultScheme: "",
    notice: assert.fail,
  });
  const below = (name: string): string => join(hostsDir, "upstream.test", name);
  assert.deepEqual(
    found.map(({ scheme, host: name, path }) => `${scheme}://${name}${path}`),
    [
      "https://second.test:5000/v2",
      "https://first.test/cache/v2",
      "http://upstream.test/x",
      "https://server.test/v2",
    ],
  );
  const [second, first, itself, server_] = found;
  assert.deepEqual(second?.capabilities, ["pull", "resolve"]);
  assert.equal(second?.tls.skipVerify, true);
  assert.deepEqual(first?.capabilities, ["pull", "resolve", "push"]);
  assert.deepEqual(first?.tls.ca, [below("a.crt"), "/b.crt"]);
  assert.equal(first?.dialTimeoutMs, 62_000);
  assert.equal(first?.namespace, "upstream.test");
  assert.equal(itself?.namespace, undefined);
  assert.deepEqual(itself?.tls.client, [
    { cert: below("c.cert"), key: below("c.key") },
    { cert: below("d.pem"), key: below("d.pem") },
  ]);
  assert.deepEqual(server_?.capabilities, ["push"]);
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
  // Nobody listens at that port.
  hostsToml(`server = "http://${server.host}"\n[host."http://127.0.0.1:1"]\n`);
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

/** The mirror gives rubbish for a layer. */
function lie(): void {
  const [, layer] = image.layers;
  mirror.fault = ({ method, path }, response, body = Buffer.alloc(0)) => {
    if (method !== "GET" || !path.includes(layer?.digest ?? "none")) return false;
    response.end(randomBytes(body.length));
    return true;
  };
}

async function nothingIsKept(): Promise<void> {
  assert.equal((await daemon.ctr.do(["content", "ls", "-q"])).trim(), "");
  assert.equal((await daemon.ctr.do(["leases", "ls", "-q"])).trim(), "");
  assert.deepEqual((await daemon.ctr.do(["content", "active"])).trim().split("\n").slice(1), []);
}

test("a mirror that lies is not believed nor asked any more, and the next host is asked in its place", async () => {
  hostsToml(both('capabilities = ["pull"]'));
  const [, layer] = image.layers;
  lie();
  const output = await pull();
  assert.equal(output.status, 0, output.stderr);
  assert.match(
    output.stdout,
    new RegExp(`warning: ${mirror.host} gives something else for ${layer?.digest}: .*asking another host`),
  );
  assert.equal(mirror.asked(new RegExp(`GET .*${layer?.digest}`)).length, 1);
  assert.equal(server.asked(new RegExp(`GET .*${layer?.digest}`)).length, 1);
  assert.equal((await cli.run(["run", "--rm", "--pull", "never", NAME])).stdout, "pulled\n");
});

test("where all hosts lie, or what is right is not elsewhere, the error names who lied, and nothing is kept", async () => {
  hostsToml(both());
  const [, layer] = image.layers;
  lie();
  server.fault = mirror.fault;
  const everywhere = await pull();
  assert.equal(everywhere.status, 1);
  for (const { host } of [mirror, server])
    assert.match(everywhere.stderr, new RegExp(`${host} gives something else for ${layer?.digest}`));
  await nothingIsKept();
  server.fault = (_request, response) => {
    response.writeHead(404).end();
    return true;
  };
  const alone = await pull();
  assert.equal(alone.status, 1);
  assert.match(alone.stderr, new RegExp(`${mirror.host} gives something else for .*not found \\(404\\)`));
  await nothingIsKept();
});

test("a layer that a lying mirror has begun and another host ended is fetched anew", async () => {
  hostsToml(both());
  const [, layer] = image.layers;
  let isFirst = true;
  mirror.fault = ({ method, path }, response, body = Buffer.alloc(0)) => {
    if (method !== "GET" || !path.includes(layer?.digest ?? "none")) return false;
    if (!isFirst) response.writeHead(404).end();
    else {
      response.writeHead(200, { "content-length": body.length });
      response.write(randomBytes(body.length / 2), () => response.destroy());
    }
    isFirst = false;
    return true;
  };
  const output = await pull();
  assert.equal(output.status, 0, output.stderr);
  const ranges = server.asked(new RegExp(`GET .*${layer?.digest}`)).map(({ headers }) => headers.range);
  assert.equal(ranges.length, 2);
  assert.notEqual(ranges[0], undefined);
  assert.equal(ranges[1], undefined);
});

test("a mirror that answers everything with a page, or with a manifest that is too large, sends us on", async () => {
  hostsToml(both());
  for (const headers of [
    { "content-type": "text/html" },
    {
      "content-type": "application/vnd.oci.image.manifest.v1+json",
      "content-length": 9_000_000,
      "docker-content-digest": `sha256:${"0".repeat(64)}`,
    },
  ]) {
    mirror.fault = ({ method }, response) => {
      response.writeHead(200, headers);
      response.end(method === "HEAD" ? undefined : "<html>");
      return true;
    };
    await succeeds();
    assert.ok(server.asked(/HEAD .*manifests\/1/).length > 0);
    // One that has lied is asked nothing more.
    if ("content-length" in headers) assert.equal(mirror.seen.length, 1);
    await cli.do(["rmi", NAME]);
    for (const each of [mirror, server]) each.reset();
  }
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

test("a file that makes no sense is passed over with a word, as by containerd; the registry itself is asked", async () => {
  const registry = server.host;
  for (const [text, says] of [
    ["server = [", /hosts\.toml is passed over/],
    [both('capabilities = ["fly"]'), /hosts\.toml is passed over: unknown capability fly/],
    [both('skip_verify = "yes"'), /hosts\.toml is passed over: skip_verify/],
    ['server = "ftp://x"', /hosts\.toml is passed over/],
  ] as const) {
    hostsToml(text, registry);
    const name = `${registry}/team/app:1`;
    const output = await cli.run(["pull", "--hosts-dir", hostsDir, name]);
    assert.equal(output.status, 0, output.stderr);
    assert.match(output.stdout, says);
    assert.equal(mirror.seen.length, 0, text);
    await cli.do(["rmi", name]);
  }
  rmSync(join(hostsDir, registry), { recursive: true });
  mkdirSync(join(hostsDir, registry, "hosts.toml"), { recursive: true });
  const unreadable = await cli.run(["pull", "--hosts-dir", hostsDir, `${registry}/team/app:1`]);
  assert.equal(unreadable.status, 1);
  assert.match(unreadable.stderr, /hosts\.toml: EISDIR/);
});

test("_default stands for registries without a directory; a port has two spellings", async () => {
  hostsToml(`server = "http://${server.host}"\n`, "_default");
  await succeeds();
  const hosts = (registry: string): string | undefined =>
    registryHosts(registry, { directories: [hostsDir], defaultScheme: "", notice: assert.fail })[0]?.host;
  hostsToml('server = "https://under.test"\n', "with.test_5000_");
  hostsToml('server = "https://colon.test"\n', "other.test:5000");
  assert.equal(hosts("with.test:5000"), "under.test");
  assert.equal(hosts("other.test:5000"), "colon.test");
  assert.equal(hosts("any.test"), server.host);
});

test("registries that no file is about", () => {
  const scheme = (registry: string, defaultScheme = ""): string => {
    const [host] = registryHosts(registry, { directories: [], defaultScheme, notice: assert.fail });
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
