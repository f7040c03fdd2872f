// What holdfastd and holdfast read from outside: configuration, clients' filters, and all that a registry may answer.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, defaultConfigText, readConfigFile } from "../../../src/manager/config.ts";
import { parseFilters } from "../../../src/manager/server/filters.ts";
import { parseChallenges } from "../../../src/registry/challenge.ts";
import { DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, parseManifest } from "../../../src/registry/descriptor.ts";
import { answerError } from "../../../src/registry/failure.ts";
import { registryHosts } from "../../../src/registry/hosts.ts";
import { parseReference } from "../../../src/registry/reference.ts";
import { TtrpcError } from "../../../src/ttrpc/status.ts";
import { filesDirectory, orRefusal, type ParserTarget, text, utf8 } from "./target.ts";

const isRefusal = (error: unknown): boolean => error instanceof TtrpcError;

let directory: string | undefined;
/** A directory of this process, in which `name` holds these bytes. */
function withFile(name: string, bytes: Uint8Array): string {
  if (directory === undefined) {
    // parsers.ts takes it away: a thread that is ended does not come to that.
    directory = filesDirectory();
    mkdirSync(directory, { recursive: true });
  }
  writeFileSync(join(directory, name), bytes);
  return directory;
}

const config: ParserTarget = {
  name: "config",
  what: "holdfastd's TOML: read, or refused with the file's name",
  words: [
    "[runtimes]",
    "[shim]",
    "[timeouts]",
    "keeper = ",
    "drain = ",
    "true",
    "1e99",
    "nan",
    '"""',
    "'''",
    "__proto__",
    "constructor",
    "{",
    "}",
    "[[a]]",
    "1979-05-27",
  ],
  seeds: () => [utf8(defaultConfigText()), utf8("[shim]\nkeeper = false\n[timeouts]\ndrain = 5\n")],
  run(input) {
    const path = join(withFile("config.toml", input), "config.toml");
    const found = orRefusal(
      () => readConfigFile(path, true),
      (error) => error instanceof ConfigError && error.message.includes(path),
    );
    for (const value of Object.values(found?.values ?? {})) assert.equal(typeof value, "string");
    for (const value of Object.values(found?.timeouts ?? {})) assert.ok(Number.isInteger(value) && value > 0);
  },
};

const HOSTS = `server = "https://registry.example"
[host."http://mirror.example:5000/v2/x"]
  capabilities = ["pull", "resolve"]
  skip_verify = true
  ca = ["ca.pem"]
  client = [["a.cert", "a.key"]]
  dial_timeout = "1m5.5s"
  override_path = true
  [host."http://mirror.example:5000/v2/x".header]
    x-a = ["b"]
`;

const hosts: ParserTarget = {
  name: "hosts",
  what: "hosts.toml: hosts that can be asked, or passed over with the file's name",
  words: [
    "server = ",
    "[host.",
    "capabilities",
    "client = [[",
    "dial_timeout",
    "https://[::1]:5000",
    "http://",
    "header",
    "__proto__",
    "%2e%2e/",
    "@",
    "?q",
    "\\u0000",
  ],
  seeds: () => [utf8(HOSTS), utf8('server = "docker.io"\n'), utf8('ca = "a"\nclient = "b"\n')],
  run(input) {
    withFile("hosts.toml", input);
    // The directory is that of every registry.
    const notice = (said: string): void => assert.ok(said.includes("hosts.toml"), said);
    const roots = { directories: [join(directory ?? "", "..")], defaultScheme: "", notice };
    const registry = (directory ?? "").slice((directory ?? "").lastIndexOf("/") + 1);
    for (const host of orRefusal(() => registryHosts(registry, roots), isRefusal) ?? []) {
      assert.ok(["http", "https"].includes(host.scheme) && host.host !== "");
      assert.ok(host.path === "" || host.path.startsWith("/"), host.path);
      assert.ok(host.dialTimeoutMs === undefined || host.dialTimeoutMs >= 0);
    }
  },
};

const filters: ParserTarget = {
  name: "filters",
  what: "clients' filters: a filter, or refused with its place",
  words: [
    "==",
    "!=",
    "~=",
    "labels.",
    '"',
    "|",
    "/",
    "\\x41",
    "\\u0041",
    "\\377",
    "(a+)+b",
    "[[:alpha:]]",
    "\\pL",
    ",",
    ".",
    "\ufffd",
    "\0",
  ],
  seeds: () => ['name==a,labels."a.b"~=/x+/,image', 'id!="\\x41\\u00e9"', "a.b.c ~= |(?i)x|"].map(utf8),
  run(input) {
    const filter = orRefusal(() => parseFilters([text(input)]), isRefusal);
    assert.equal(typeof (filter?.(() => "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") ?? true), "boolean");
  },
};

const DIGEST = `sha256:${"a".repeat(64)}`;
const descriptor = {
  mediaType: "x/y",
  digest: DIGEST,
  size: 7,
  platform: { os: "linux", architecture: "amd64", variant: "v2" },
  annotations: { a: "b" },
};

const manifests: ParserTarget = {
  name: "manifests",
  what: "manifests and indexes: what they name is whole, or they are refused",
  words: [
    '"layers":',
    '"manifests":',
    '"config":',
    '"fsLayers":',
    '"mediaType":',
    JSON.stringify(OCI_INDEX),
    JSON.stringify(OCI_MANIFEST),
    '"size":1e400',
    '"size":-0',
    "null",
    "__proto__",
  ],
  seeds: () =>
    [
      { schemaVersion: 2, mediaType: OCI_MANIFEST, config: descriptor, layers: [descriptor] },
      { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [descriptor] },
      { schemaVersion: 2, config: descriptor, layers: null },
      { schemaVersion: 1, fsLayers: [] },
    ].map((value) => utf8(JSON.stringify(value))),
  run(input) {
    for (const mediaType of [OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST]) {
      const found = orRefusal(() => parseManifest({ mediaType, digest: DIGEST, size: 1 }, input), isRefusal);
      for (const each of [...(found?.children ?? []), ...(found?.config ? [found.config] : [])]) {
        assert.match(each.digest, /^sha256:[0-9a-f]{64}$/);
        assert.ok(Number.isSafeInteger(each.size) && each.size >= 0);
      }
    }
  },
};

const answers: ParserTarget = {
  name: "answers",
  what: "WWW-Authenticate, error answers and references: read without an error of the language, in time that grows with their length",
  words: [
    "Bearer ",
    "realm=",
    '"https://a/b"',
    "scope=",
    ",",
    "\\",
    '"',
    "error=",
    '{"errors":[{"code":"A","message":"b"}]}',
    "host/a:b@",
    DIGEST,
    "__",
    "-",
    "a.a.a.a",
    "localhost:5000/",
  ],
  seeds: () =>
    [
      'Bearer realm="https://a/token",service="b",scope="repository:c:pull", Basic realm=x',
      '{"errors":[{"code":"DENIED","message":"no"}]}',
      `host.example:5000/a/b-c__d:tag@${DIGEST}`,
    ].map(utf8),
  run(input) {
    const given = text(input);
    for (const { scheme, parameters } of parseChallenges([given, given]))
      for (const part of [scheme, ...Object.values(parameters)]) assert.equal(typeof part, "string");
    const error = answerError("GET x", 400 + (input.length % 130), { "retry-after": given }, given);
    assert.ok(error.message.length < 1000);
    assert.ok(error.retryAfterMs === undefined || error.retryAfterMs >= 0);
    const found = orRefusal(() => parseReference(given), isRefusal);
    if (found === undefined) return;
    assert.ok(!found.repository.includes("..") && !found.host.includes("/"));
    assert.deepEqual(parseReference(found.text), found);
  },
};

export const daemonTargets: readonly ParserTarget[] = [config, hosts, filters, manifests, answers];
