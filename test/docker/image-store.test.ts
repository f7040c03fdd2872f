// Docker's containerd image store on holdfastd: images, layers and snapshots are ours, for Docker 25 and newer (`"containerd-snapshotter": true`).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, test } from "node:test";
import { check } from "../harness/command.ts";
import { Docker, dockerVersion, IMAGE } from "../harness/docker.ts";

const skip = dockerVersion >= 25 ? false : "Docker has its containerd image store since 25";
const started = skip === false ? await Docker.onImageStore() : undefined;
after(() => started?.close());
const onDocker = (name: string, body: (docker: Docker) => Promise<void>): void => {
  test(name, { skip }, () => body(started as Docker));
};

/** What holdfastd has, asked by ctr. */
const ctr = ({ daemon }: Docker, args: readonly string[]): Promise<string> =>
  check(["ctr", "--address", daemon.address, "--namespace", "moby", ...args]);

onDocker("the images are holdfastd's, and so are the layers that a container stands on", async (docker) => {
  assert.match(await docker.do(["info"]), /Storage Driver: overlayfs[\s\S]*io\.containerd\.snapshotter\.v1/);
  assert.match(await docker.do(["images"]), /busybox/);
  assert.match(await ctr(docker, ["images", "ls", "-q"]), /docker\.io\/library\/busybox:latest/);
  assert.equal(await docker.do(["run", "--rm", IMAGE, "/bin/echo", "hello"]), "hello");
});

onDocker("the classic builder: COPY, RUN, ENV, and a cache that is used again", async (docker) => {
  const context = join(docker.daemon.directory, "context");
  mkdirSync(context);
  writeFileSync(join(context, "file"), "copied\n");
  writeFileSync(
    join(context, "Dockerfile"),
    `FROM ${IMAGE}\nENV PATH=/bin\nCOPY file /file\nRUN echo run >/run-file && rm /bin/vi\nCMD ["cat", "/file", "/run-file"]\n`,
  );
  const build = ["build", "--tag", "built:1", context];
  const classic = (args: readonly string[]) => check(docker.argv(args), { env: { DOCKER_BUILDKIT: "0" } });
  await classic(build);
  assert.equal(await docker.do(["run", "--rm", "built:1"]), "copied\nrun");
  assert.equal((await docker.try(["run", "--rm", "built:1", "ls", "/bin/vi"])).status, 1);
  assert.match(await classic(build), /Using cache/);
  assert.match(await docker.do(["history", "built:1"]), /RUN|rm \/bin\/vi/);
});

onDocker("commit, diff and cp of a container", async (docker) => {
  await docker.do(["run", "--name", "changed", "built:1", "sh", "-c", "echo more >/more; rm /file"]);
  const changes = (await docker.do(["diff", "changed"])).split("\n");
  assert.ok(changes.includes("A /more") && changes.includes("D /file"), changes.join());
  await docker.do(["commit", "changed", "committed:1"]);
  assert.equal(await docker.do(["run", "--rm", "committed:1", "cat", "/more"]), "more");
  assert.equal((await docker.try(["run", "--rm", "committed:1", "cat", "/file"])).status, 1);
  await docker.do(["cp", "changed:/more", join(docker.daemon.directory, "more")]);
  await docker.do(["rm", "changed"]);
});

onDocker("what is saved is loaded again", async (docker) => {
  const archive = join(docker.daemon.directory, "saved.tar");
  await docker.do(["save", "--output", archive, "built:1"]);
  await docker.do(["rmi", "committed:1", "built:1"]);
  assert.match(await docker.do(["load", "--input", archive]), /built:1/);
  assert.equal(await docker.do(["run", "--rm", "built:1"]), "copied\nrun");
});

onDocker("an image is pushed to a registry, layer by layer", async (docker) => {
  const { server, blobs, manifests } = await registry();
  try {
    const { port } = server.address() as AddressInfo;
    const name = `127.0.0.1:${port}/pushed:1`;
    await docker.do(["tag", "built:1", name]);
    await docker.do(["push", name]);
    assert.equal(manifests.size >= 1, true);
    const [manifest] = [...manifests.values()].filter((text) => text.includes('"layers"'));
    const { layers, config } = JSON.parse(manifest ?? "{}") as {
      layers: { digest: string }[];
      config: { digest: string };
    };
    for (const { digest } of [config, ...layers]) assert.ok(blobs.has(digest), digest);
    await docker.do(["rmi", name]);
  } finally {
    server.close();
    server.closeAllConnections();
  }
});

onDocker("prune leaves nothing of what no container uses", async (docker) => {
  await docker.do(["run", "-d", "--name", "stays", "built:1", "sleep", "1000"]);
  await docker.do(["rmi", "--force", IMAGE]);
  await docker.do(["image", "prune", "--all", "--force"]);
  assert.match(await docker.do(["images"]), /built/);
  await docker.do(["rm", "--force", "stays"]);
  await docker.do(["system", "prune", "--all", "--force"]);
  assert.equal((await ctr(docker, ["images", "ls", "-q"])).trim(), "");
  assert.equal((await ctr(docker, ["content", "ls", "-q"])).trim(), "");
  assert.equal((await ctr(docker, ["snapshots", "ls"])).trim().split("\n").length, 1);
});

/** As much of a registry as a push needs. */
async function registry() {
  const blobs = new Set<string>();
  const manifests = new Map<string, string>();
  const uploads = new Map<string, Buffer>();
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    const { method = "", url = "" } = request;
    const [path = "", query = ""] = url.split("?");
    const answer = (status: number, headers: Record<string, string> = {}): void => {
      response.writeHead(status, headers).end();
    };
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const body = Buffer.concat(parts);
      const digest = `sha256:${createHash("sha256").update(body).digest("hex")}`;
      const wanted = path.split("/").at(-1) ?? "";
      if (path === "/v2/") return answer(200);
      if (path.includes("/blobs/uploads/") && method === "POST") {
        const id = String(uploads.size + 1);
        uploads.set(id, Buffer.alloc(0));
        return answer(202, { location: `${path}${id}`, range: "0-0" });
      }
      if (path.includes("/blobs/uploads/")) {
        const all = Buffer.concat([uploads.get(wanted) ?? Buffer.alloc(0), body]);
        uploads.set(wanted, all);
        const whole = `sha256:${createHash("sha256").update(all).digest("hex")}`;
        if (method === "PATCH") return answer(202, { location: path, range: `0-${all.length - 1}` });
        if (new URLSearchParams(query).get("digest") !== whole) return answer(400);
        blobs.add(whole);
        return answer(201, { "docker-content-digest": whole });
      }
      if (path.includes("/blobs/")) return answer(blobs.has(wanted) ? 200 : 404);
      if (path.includes("/manifests/") && method === "PUT") {
        manifests.set(digest, body.toString());
        return answer(201, { "docker-content-digest": digest });
      }
      return answer(404);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, blobs, manifests };
}
