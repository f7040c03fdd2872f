// What registries do wrong, and what a pull makes of it: it goes on where it was, or it says what is wrong and leaves nothing.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { after, afterEach, before, test } from "node:test";
import { Cli } from "../cli/cli.ts";
import type { Output } from "../harness/command.ts";
import { Daemon } from "../harness/daemon.ts";
import { eventually } from "../harness/eventually.ts";
import { type Fault, FaultyRegistry } from "./faulty-registry.ts";
import { blob, makeImage, type TestImage } from "./image.ts";

const daemon = await Daemon.start({ kind: "holdfastd" });
const cli = new Cli(daemon);
let registry: FaultyRegistry;
before(async () => {
  registry = await FaultyRegistry.start();
});
afterEach(() => registry.reset());
after(async () => {
  cli.close();
  await registry.close();
  await daemon.close();
});

/** An image that no other test knows, with a large layer. */
function offer(image: TestImage = makeImage({ layers: [4_000_000] })): { name: string; large: string } {
  return registry.offer(image);
}

const pull = (name: string): Promise<Output> => cli.run(["pull", name]);

async function pulls(name: string, by: Cli = cli): Promise<void> {
  const output = await by.run(["pull", name]);
  assert.equal(output.status, 0, output.stderr);
  assert.equal((await by.run(["run", "--rm", "--pull", "never", name])).stdout, "pulled\n");
  await by.do(["rmi", name]);
}

/** It fails, says so, and has left nothing of the image. */
async function refuses(name: string, says: RegExp): Promise<void> {
  const output = await pull(name);
  assert.equal(output.status, 1, output.stdout);
  assert.match(output.stderr, says);
  await isClean();
}

async function isClean(): Promise<void> {
  assert.equal((await daemon.ctr.do(["content", "ls", "-q"])).trim(), "", "content");
  assert.equal((await daemon.ctr.do(["leases", "ls", "-q"])).trim(), "", "leases");
  assert.equal((await daemon.ctr.do(["images", "ls", "-q"])).trim(), "", "images");
  assert.deepEqual((await daemon.ctr.do(["snapshots", "ls"])).trim().split("\n").slice(1), [], "snapshots");
  assert.deepEqual((await daemon.ctr.do(["content", "active"])).trim().split("\n").slice(1), [], "ingests");
}

/** Goes wrong the first `times` that a GET of `digest` comes. */
function first(times: number, digest: string, act: (...args: Parameters<Fault>) => void): Fault {
  let left = times;
  return (request, response, body) => {
    if (request.method !== "GET" || !request.path.includes(digest) || left-- <= 0) return false;
    act(request, response, body);
    return true;
  };
}

/** Half of what is wanted, then the end of the connection. */
const cut: (...args: Parameters<Fault>) => void = ({ headers }, response, body = Buffer.alloc(0)) => {
  const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
  const rest = body.subarray(start);
  response.writeHead(start > 0 ? 206 : 200, {
    "content-length": rest.length,
    ...(start > 0 && { "content-range": `bytes ${start}-${body.length - 1}/${body.length}` }),
  });
  response.write(rest.subarray(0, rest.length / 2), () => response.destroy());
};

test("a layer that is cut off goes on where it was", async () => {
  const { name, large } = offer();
  // More often than one that gets no further is asked.
  registry.fault = first(7, large, cut);
  await pulls(name);
  const ranges = registry.asked(new RegExp(`GET .*${large}`)).map(({ headers }) => headers.range);
  assert.equal(ranges.length, 8);
  assert.equal(ranges[0], undefined);
  const starts = ranges.slice(1).map((range) => Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]));
  assert.ok(
    starts.every((start, index) => start > (starts[index - 1] ?? 0)),
    String(starts),
  );
});

test("a registry that knows no ranges gives all of it again", async () => {
  const { name, large } = offer();
  let hasCut = false;
  registry.fault = (request, response, body = Buffer.alloc(0)) => {
    if (request.method !== "GET" || !request.path.includes(large)) return false;
    if (!hasCut) cut(request, response, body);
    else response.end(body);
    hasCut = true;
    return true;
  };
  await pulls(name);
});

test("a registry that is busy is asked again, when it says", async () => {
  const { name, large } = offer();
  const times: number[] = [];
  registry.fault = first(2, large, (_request, response) => {
    times.push(performance.now());
    const status = times.length === 1 ? 429 : 503;
    response.writeHead(status, status === 429 ? { "retry-after": "1" } : {}).end();
  });
  await pulls(name);
  const all = registry.asked(new RegExp(`GET .*${large}`));
  assert.equal(all.length, 3);
  const [one = 0, two = 0] = times;
  assert.ok(two - one >= 990, `it was asked again after ${two - one} ms`);
});

test("a registry that wants too much patience is given up at once", async () => {
  const { name } = offer();
  registry.fault = (_request, response) => {
    response
      .writeHead(429, { "retry-after": "100000" })
      .end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}');
    return true;
  };
  const output = await pull(name);
  assert.equal(output.status, 1);
  assert.match(output.stderr, /too many requests \(429\): TOOMANYREQUESTS: slow down/);
});

test("a registry that stalls is asked again; one that never goes on is given up", async () => {
  // A daemon of its own: what is slow for other reasons is not to be asked twice.
  const hasty = await Daemon.start({ kind: "holdfastd", config: ["[timeouts]", "registry = 1000"] });
  const its = new Cli(hasty);
  try {
    const { name, large } = offer();
    registry.fault = first(1, large, (_request, response, body = Buffer.alloc(0)) => {
      response.writeHead(200, { "content-length": body.length });
      response.write(body.subarray(0, 1000));
    });
    await pulls(name, its);
    registry.fault = () => true;
    const output = await its.run(["pull", name]);
    assert.equal(output.status, 1);
    assert.match(output.stderr, /does not answer in time/);
  } finally {
    its.close();
    await hasty.close();
  }
});

test("rubbish for a layer, a manifest of another digest, and a layer of another size are refused, and leave nothing", async () => {
  const rubbish = offer();
  registry.fault = first(9, rubbish.large, (_request, response, body = Buffer.alloc(0)) =>
    response.end(randomBytes(body.length)),
  );
  await refuses(
    rubbish.name,
    /127\.0\.0\.1:\d+ gives something else for sha256:[0-9a-f]{64}: unexpected commit digest/,
  );
  const long = offer();
  registry.fault = first(9, long.large, (_request, response, body = Buffer.alloc(0)) =>
    response.end(Buffer.concat([body, body])),
  );
  await refuses(long.name, /it has \d+ bytes, and should have \d+/);
  const short = offer();
  registry.fault = first(9, short.large, (_request, response, body = Buffer.alloc(0)) =>
    response.end(body.subarray(1)),
  );
  await refuses(short.name, /it has \d+ bytes, and should have \d+/);
  const endless = offer();
  registry.fault = first(9, endless.large, (_request, response, body = Buffer.alloc(0)) => {
    response.writeHead(200, { "transfer-encoding": "chunked" });
    response.write(Buffer.concat([body, body]));
    response.end();
  });
  await refuses(endless.name, /more than the \d+ bytes that it should have/);
  const manifest = offer();
  registry.fault = (request, response, body) => {
    if (request.method !== "GET" || !request.path.includes("/manifests/sha256:")) return false;
    response.end(
      Buffer.from((body ?? Buffer.alloc(0)).toString().replace('"schemaVersion":2', '"schemaVersion":3')),
    );
    return true;
  };
  await refuses(manifest.name, /gives something else for sha256/);
});

test("a manifest that is too large, no JSON, two things at once, or another kind is refused, and leaves nothing", async () => {
  const answer =
    (headers: Record<string, string | number>, body: Buffer | string): Fault =>
    (request, response) => {
      if (!request.path.includes("/manifests/")) return false;
      const { digest, size } = blob("", Buffer.from(body));
      response.writeHead(200, { "content-length": size, "docker-content-digest": digest, ...headers });
      response.end(request.method === "HEAD" ? undefined : body);
      return true;
    };
  const oci = { "content-type": "application/vnd.oci.image.manifest.v1+json" };
  const { name } = offer();
  registry.fault = answer(oci, Buffer.alloc(9 * 1024 * 1024, " "));
  await refuses(name, /a manifest of 9437184 bytes/);
  registry.fault = answer(oci, "no json");
  await refuses(name, /no JSON/);
  registry.fault = answer(oci, '{"schemaVersion":2,"layers":[],"config":{},"manifests":[]}');
  await refuses(name, /a manifest with manifests/);
  registry.fault = answer(oci, '{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}');
  await refuses(name, /it says that it is "application\/vnd\.oci\.image\.index/);
  registry.fault = answer(
    { "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws" },
    "{}",
  );
  await refuses(name, /schema 1 image manifests are no longer supported/);
  registry.fault = answer({ "content-type": "text/html" }, "<html>");
  await refuses(name, /"text\/html" is no image/);
  const evil = `{"schemaVersion":2,"config":{"mediaType":"x","digest":"sha256:../../x","size":1},"layers":[]}`;
  registry.fault = answer(oci, evil);
  await refuses(name, /is no digest of sha256/);
});

test("layers that unpack to something else than the image says leave nothing", async () => {
  const image = makeImage();
  const { name } = offer({ ...image, layers: image.layers });
  const config = JSON.parse(image.config.bytes.toString()) as { rootfs: { diff_ids: string[] } };
  config.rootfs.diff_ids.reverse();
  const lying = blob(image.config.mediaType, Buffer.from(JSON.stringify(config)));
  const manifest = JSON.parse(image.manifest.bytes.toString()) as { config: object };
  manifest.config = { mediaType: lying.mediaType, digest: lying.digest, size: lying.size };
  const whole = {
    ...image,
    config: lying,
    manifest: blob(image.manifest.mediaType, Buffer.from(JSON.stringify(manifest))),
  };
  const other = offer(whole);
  await refuses(other.name, /unpacks to sha256:[0-9a-f]{64}, not to sha256/);
  await pulls(name);
});

test("what is not there is said so, with the registry's words", async () => {
  await refuses(
    `${registry.host}/app:absent`,
    /app\/manifests\/absent: not found \(404\): MANIFEST_UNKNOWN: manifest unknown/,
  );
  const { name, large } = offer();
  registry.fault = first(9, large, (_request, response) => response.writeHead(404).end());
  await refuses(name, /not found \(404\)/);
});

test("redirects lead to other hosts, and what identifies us does not go along", async () => {
  const { name, large } = offer();
  const image: { bytes: Buffer | undefined } = { bytes: undefined };
  const heard: IncomingHttpHeaders[] = [];
  const store = createServer((request, response) => {
    heard.push(request.headers);
    response.end(image.bytes);
  });
  await new Promise<void>((resolve) => store.listen(0, "127.0.0.2", resolve));
  const { port } = store.address() as { port: number };
  try {
    registry.fault = (request, response, body) => {
      if (request.headers.authorization === undefined) {
        response.writeHead(401, { "www-authenticate": 'Basic realm="test"' }).end();
        return true;
      }
      if (request.method !== "GET" || !request.path.includes(large)) return false;
      image.bytes = body;
      response.writeHead(307, { location: `http://127.0.0.2:${port}/store?signature=secret` }).end();
      return true;
    };
    const output = await cli.run(["pull", "--user", "me:secret", name]);
    assert.equal(output.status, 0, output.stderr);
    assert.equal(heard.length, 1);
    assert.equal(heard[0]?.authorization, undefined);
    assert.ok(registry.asked(/GET/).some(({ headers }) => headers.authorization?.startsWith("Basic ")));
    registry.fault = (request, response) => {
      response.writeHead(302, { location: request.path }).end();
      return true;
    };
    await cli.do(["rmi", name]);
    await refuses(name, /more than 10 redirects/);
  } finally {
    store.closeAllConnections();
    store.close();
  }
});

test("a password is refused with a word, and leaves nothing", async () => {
  const { name } = offer();
  registry.fault = (_request, response) => {
    response.writeHead(401, { "www-authenticate": 'Basic realm="test"' }).end();
    return true;
  };
  await refuses(name, /there are none for it: authorization failed/);
  const output = await cli.run(["pull", "--user", "me:wrong", name]);
  assert.match(output.stderr, /the registry wants a login \(401\)/);
  await isClean();
});

test("two pulls of one image at once bring in each layer once", async () => {
  const { name, large } = offer();
  const outputs = await Promise.all([pull(name), pull(name), pull(name)]);
  assert.deepEqual(
    outputs.map(({ status }) => status),
    [0, 0, 0],
    outputs.map(({ stderr }) => stderr).join(""),
  );
  assert.equal(registry.asked(new RegExp(`GET .*${large}`)).length, 1);
  await cli.do(["rmi", name]);
});

test("ctrl-c stops a pull, and the next one goes on where it was", async () => {
  const { name, large } = offer();
  registry.fault = first(99, large, ({ headers }, response, body = Buffer.alloc(0)) => {
    const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    response.writeHead(start > 0 ? 206 : 200, {
      "content-length": body.length - start,
      ...(start > 0 && { "content-range": `bytes ${start}-${body.length - 1}/${body.length}` }),
    });
    if (start === 0) response.write(body.subarray(0, 3_000_000));
  });
  const broken = cli.spawn(["pull", name]);
  await eventually("most of the layer", async () =>
    /layer-\S+\s+[23]\.\d+ *Mi?B/.test(await daemon.ctr.do(["content", "active"])),
  );
  broken.kill("SIGINT");
  assert.equal((await broken.exited).status, 130);
  registry.reset();
  await cli.do(["pull", name]);
  const ranges = registry.asked(new RegExp(`GET .*${large}`)).map(({ headers }) => headers.range);
  assert.equal(ranges.length, 1);
  assert.match(ranges[0] ?? "", /^bytes=[23]\d{6}-$/);
  assert.equal((await daemon.ctr.do(["leases", "ls", "-q"])).trim(), "");
  await cli.do(["rmi", name]);
  await isClean();
});
