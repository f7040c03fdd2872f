// docs/docker.md, its part on containerd, tried as written.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { check } from "../harness/command.ts";
import { Docker, dockerVersion } from "../harness/docker.ts";
import { isHoldfastd } from "../harness/runtime.ts";
import { blocksIn } from "./pages.ts";

const skip = isHoldfastd
  ? "this part is of containerd"
  : Number.isNaN(dockerVersion)
    ? "Docker is not installed"
    : dockerVersion < 23
      ? "Docker takes shims by name since 23"
      : false;

test("docker.md: docker run with the runtime's name, and with the short one from daemon.json", {
  skip,
}, async () => {
  const [settings = ""] = blocksIn("docker.md", "On containerd", "json");
  const docker = await Docker.onContainerd("each", settings);
  after(() => docker.close());
  const commands = blocksIn("docker.md", "On containerd", "sh").filter((text) =>
    text.startsWith("docker run"),
  );
  assert.equal(commands.length, 2);
  for (const command of commands) {
    assert.equal(await check(["sh", "-c", command], { env: { DOCKER_HOST: docker.host } }), "hello\n");
  }
});
