// An image of the busybox root filesystem, imported into a test's own daemon, so that containers get their root from a snapshotter by mounts.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check } from "./command.ts";
import type { Daemon } from "./daemon.ts";
import { buildRootfs } from "./rootfs.ts";

export const IMAGE = "test.invalid/busybox:1";

/** Imports IMAGE into a namespace; its files never leave the daemon's directory. `command` is what it runs by default. */
export async function importImage(
  daemon: Daemon,
  namespace: string = daemon.namespace,
  command: readonly string[] = [],
): Promise<void> {
  const directory = join(daemon.directory, "image");
  mkdirSync(directory);
  const rootfs = buildRootfs(join(directory, "rootfs"));
  const layer = join(directory, "layer.tar");
  await check(["tar", "-C", rootfs, "-cf", layer, "."]);
  const digest = createHash("sha256").update(readFileSync(layer)).digest("hex");
  const config = {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: { Env: ["PATH=/bin"], Cmd: command },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
  };
  const manifest = [{ Config: "config.json", RepoTags: [IMAGE], Layers: ["layer.tar"] }];
  writeFileSync(join(directory, "config.json"), JSON.stringify(config));
  writeFileSync(join(directory, "manifest.json"), JSON.stringify(manifest));
  const archive = join(daemon.directory, "image.tar");
  await check(["tar", "-C", directory, "-cf", archive, "manifest.json", "config.json", "layer.tar"]);
  await daemon.ctr.inNamespace(namespace).do(["images", "import", archive]);
}
