// Registries behind proxies, by the environment as Go's programs read it: proxies of each kind on loopback, which alone know where the registry is.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, connect, createServer as createSocketServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { after, afterEach, before, test } from "node:test";
import { proxyFor } from "../../src/registry/proxy.ts";
import { patience } from "../harness/eventually.ts";
import { makeCertificates } from "./docker-registry.ts";

const VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap((name) => [
  name,
  name.toLowerCase(),
]);
const directory = mkdtempSync(join(tmpdir(), "holdfast-proxies-"));
/** What the proxies were asked for. */
const seen: string[] = [];
const servers: { close(): unknown; closeAllConnections?(): void }[] = [];
let plain: AddressInfo;
let secure: AddressInfo;

before(async () => {
  for (const name of VARIABLES) delete process.env[name];
  const certificates = await makeCertificates(directory, "registry.test", "localhost");
  // Read when the module is loaded.
  process.env.SSL_CERT_FILE = certificates.ca;
  tls = { cert: readFileSync(certificates.cert, "utf8"), key: readFileSync(certificates.key, "utf8") };
  const answer = (call: IncomingMessage): string => `${call.method} ${call.url} ${call.headers.host}`;
  plain = await listening(createServer((call, response) => response.end(answer(call))));
  secure = await listening(createTlsServer(tls, (call, response) => response.end(answer(call))));
});
afterEach(() => {
  seen.splice(0);
  for (const name of VARIABLES) delete process.env[name];
});
after(() => {
  for (const server of servers) {
    server.closeAllConnections?.();
    server.close();
  }
  rmSync(directory, { recursive: true, force: true });
});

let tls: { cert: string; key: string };

function listening(server: Server | ReturnType<typeof createSocketServer>): Promise<AddressInfo> {
  servers.push(server);
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => resolve(server.address() as AddressInfo)),
  );
}

/** Where the registry really is, whatever it is called. */
const registryPort = (port: string): number => (port === "443" ? secure.port : plain.port);

function join2(from: Duplex, port: string): void {
  const to = connect(registryPort(port), "127.0.0.1", () => {
    from.pipe(to);
    to.pipe(from);
  });
  to.on("error", () => from.destroy());
  from.on("error", () => to.destroy());
}

/** A proxy of HTTP, asked by TLS or not, which wants a password if one is given. */
async function httpProxy(isSecure: boolean, password?: string): Promise<string> {
  const isWelcome = ({ headers }: IncomingMessage): boolean =>
    password === undefined ||
    headers["proxy-authorization"] === `Basic ${Buffer.from(`user:${password}`).toString("base64")}`;
  const handed = (call: IncomingMessage, response: ServerResponse): void => {
    seen.push(`${call.method} ${call.url}`);
    if (!isWelcome(call)) return void response.writeHead(407).end();
    const { pathname, host } = new URL(call.url ?? "");
    request({ port: plain.port, path: pathname, headers: { host } }, (answer) => answer.pipe(response)).end();
  };
  const server = isSecure ? createTlsServer(tls, handed) : createServer(handed);
  server.on("connect", (call: IncomingMessage, socket: Duplex) => {
    seen.push(`${call.method} ${call.url}`);
    if (!isWelcome(call)) return void socket.end("HTTP/1.1 407 No\r\n\r\n");
    socket.write("HTTP/1.1 200 OK\r\n\r\n");
    join2(socket, (call.url ?? "").split(":")[1] ?? "");
  });
  const { port } = await listening(server);
  const user = password === undefined ? "" : `user:${encodeURIComponent(password)}@`;
  return `${isSecure ? "https" : "http"}://${user}localhost:${port}`;
}

/** A proxy of SOCKS 5. What it is sent comes byte by byte, as a slow network has it. */
async function socksProxy(password?: string): Promise<string> {
  const serve = async (socket: Socket): Promise<void> => {
    const take = async (length: number): Promise<Buffer> => {
      for (;;) {
        const bytes = socket.read(length) as Buffer | null;
        if (bytes !== null) return bytes;
        await new Promise((resolve) => socket.once("readable", resolve));
      }
    };
    const send = async (...bytes: number[]): Promise<void> => {
      for (const byte of bytes) await new Promise((resolve) => socket.write(Buffer.from([byte]), resolve));
    };
    const [, count = 0] = await take(2);
    const methods = [...(await take(count))];
    const method = password === undefined ? 0 : methods.includes(2) ? 2 : 255;
    await send(5, method);
    if (method === 255) return void socket.end();
    if (method === 2) {
      const user = (await take((await take(2))[1] ?? 0)).toString();
      const secret = (await take((await take(1))[0] ?? 0)).toString();
      const isRight = user === "user" && secret === password;
      await send(1, isRight ? 0 : 1);
      if (!isRight) return void socket.end();
    }
    const [, , , kind] = await take(4);
    const length = kind === 1 ? 4 : kind === 4 ? 16 : ((await take(1))[0] ?? 0);
    const place = await take(length);
    const name = kind === 3 ? place.toString() : place.toString("hex");
    const port = String((await take(2)).readUInt16BE());
    seen.push(`${name} ${port}`);
    if (name === "refused.test") return void (await send(5, 5, 0, 1, 0, 0, 0, 0, 0, 0));
    await send(5, 0, 0, 1, 127, 0, 0, 1, 0, 80);
    join2(socket, port);
  };
  const { port } = await listening(createSocketServer((socket) => void serve(socket).catch(() => {})));
  return `socks5://${password === undefined ? "" : `user:${password}@`}127.0.0.1:${port}`;
}

/** What the registry says to a request. */
async function get(url: string): Promise<string> {
  const { Connections, readBody } = await import("../../src/registry/connections.ts");
  const connections = new Connections(patience(60_000), new AbortController().signal);
  try {
    const answer = await connections.send("the registry", {
      method: "GET",
      url: new URL(url),
      headers: {},
      tls: { ca: [], client: [], skipVerify: false },
    });
    return `${answer.statusCode} ${(await readBody("the registry", answer, 1000)).toString()}`;
  } finally {
    connections.close();
  }
}

for (const isSecure of [false, true]) {
  const kind = isSecure ? "https" : "http";
  test(`an ${kind} proxy is asked for a tunnel to a registry with TLS, and is handed the requests to one without`, async () => {
    process.env.HTTPS_PROXY = await httpProxy(isSecure, "p@ss");
    process.env.HTTP_PROXY = process.env.HTTPS_PROXY;
    assert.equal(await get("https://registry.test/v2/"), "200 GET /v2/ registry.test");
    assert.equal(await get("http://registry.test:5000/v2/?n=1"), "200 GET /v2/ registry.test:5000");
    assert.deepEqual(seen, ["CONNECT registry.test:443", "GET http://registry.test:5000/v2/?n=1"]);
  });
}

test("a SOCKS 5 proxy is told names, not addresses, with user and password if it wants them", async () => {
  process.env.ALL_PROXY = await socksProxy();
  assert.equal(await get("https://registry.test/v2/"), "200 GET /v2/ registry.test");
  process.env.ALL_PROXY = await socksProxy("secret");
  assert.equal(await get("http://registry.test:5000/v2/"), "200 GET /v2/ registry.test:5000");
  assert.equal(await get("http://[2001:db8::5]:5000/v2/"), "200 GET /v2/ [2001:db8::5]:5000");
  assert.deepEqual(seen, [
    "registry.test 443",
    "registry.test 5000",
    "20010db8000000000000000000000005 5000",
  ]);
});

test("a proxy that refuses is an error that says so", async () => {
  process.env.ALL_PROXY = (await socksProxy("secret")).replace("secret", "wrong");
  await assert.rejects(get("http://registry.test/"), /wrong user or password/);
  process.env.ALL_PROXY = (await socksProxy("secret")).replace("user:secret@", "");
  await assert.rejects(get("http://registry.test/"), /it wants to know who we are/);
  process.env.ALL_PROXY = await socksProxy();
  await assert.rejects(get("http://refused.test/"), /connection refused/);
  process.env.HTTPS_PROXY = (await httpProxy(false, "secret")).replace("secret", "wrong");
  await assert.rejects(get("https://registry.test/"), /answers with 407/);
  process.env.HTTPS_PROXY = "ftp://user:secret@proxy.test";
  await assert.rejects(get("https://registry.test/"), (error: Error) => {
    assert.match(error.message, /no URL of an http, https or socks5 proxy/);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});

test("NO_PROXY excepts names, what is below them, addresses, blocks and ports; this machine is always excepted", () => {
  process.env.HTTP_PROXY = "proxy.test:3128";
  const isProxied = (url: string, excepted = ""): boolean => {
    process.env.NO_PROXY = excepted;
    return proxyFor(new URL(url)) !== undefined;
  };
  for (const url of ["http://localhost:5000", "http://127.8.9.1", "http://[::1]:5000", "https://any.test"])
    assert.equal(isProxied(url), false, url);
  const cases: [url: string, excepted: string, isProxied: boolean][] = [
    ["http://a.test", "", true],
    ["http://a.test", "*", false],
    ["http://a.test", "b.test, a.test", false],
    ["http://sub.a.test", "a.test", false],
    ["http://nota.test", "a.test", true],
    ["http://a.test", ".a.test", true],
    ["http://sub.a.test", ".a.test", false],
    ["http://sub.a.test", "*.a.test", false],
    ["http://A.test.", "a.TEST", false],
    ["http://a.test:5000", "a.test:5000", false],
    ["http://a.test:5001", "a.test:5000", true],
    ["http://a.test", "a.test:80", false],
    ["http://10.1.2.3", "10.0.0.0/8", false],
    ["http://11.1.2.3", "10.0.0.0/8", true],
    ["http://10.1.2.3", "10.1.2.3", false],
    ["http://10.1.2.3:81", "10.1.2.3:80", true],
    ["http://[2001:db8::1]", "2001:db8::/32", false],
    ["http://[2001:db8::1]", "2001:DB8:0::1", false],
    ["http://[2001:db8::1]:81", "[2001:db8::1]:81", false],
    ["http://a.test", "10.0.0.0/99,/,:", true],
  ];
  for (const [url, excepted, expected] of cases)
    assert.equal(isProxied(url, excepted), expected, `${url} with ${excepted}`);
  delete process.env.HTTP_PROXY;
  process.env.http_proxy = "proxy.test";
  assert.equal(isProxied("http://a.test"), true);
});
