// An image for the tests of verbs: busybox with users, and whatever configuration a test wants. An archive as docker save writes it.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check } from "../harness/command.ts";
import { buildRootfs } from "../harness/rootfs.ts";

export interface SourceOptions {
  readonly config?: Record<string, unknown>;
  readonly architecture?: string;
  /** Changes the root file system before it is packed. */
  readonly prepare?: (rootfs: string) => void | Promise<void>;
}

/** Makes the archive of an image in `directory`, and returns its path. */
export async function makeImage(
  directory: string,
  name: string,
  options: SourceOptions = {},
): Promise<string> {
  const { config = {}, architecture = process.arch === "arm64" ? "arm64" : "amd64", prepare } = options;
  const place = join(directory, name.replace(/\W/g, "-"));
  mkdirSync(place);
  const rootfs = buildRootfs(join(place, "rootfs"));
  writeFileSync(join(rootfs, "etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n");
  writeFileSync(join(rootfs, "etc/group"), "web:x:44:\nadm:x:55:web\n");
  await prepare?.(rootfs);
  await check(["tar", "-C", rootfs, "-S", "--format=posix", "-cf", join(place, "layer.tar"), "."]);
  const digest = createHash("sha256")
    .update(readFileSync(join(place, "layer.tar")))
    .digest("hex");
  const json = (file: string, value: unknown): void =>
    writeFileSync(join(place, file), JSON.stringify(value));
  json("config.json", {
    architecture,
    os: "linux",
    config: { Env: ["PATH=/bin"], ...config },
    rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
    history: [
      { created: "2020-01-01T00:00:00Z", created_by: "COPY rootfs /" },
      { created: "2020-01-01T00:00:01Z", created_by: "ENV PATH=/bin", empty_layer: true },
    ],
  });
  json("manifest.json", [{ Config: "config.json", RepoTags: [name], Layers: ["layer.tar"] }]);
  const archive = join(directory, `${name.replace(/\W/g, "-")}.tar`);
  await check(["tar", "-C", place, "-cf", archive, "manifest.json", "config.json", "layer.tar"]);
  return archive;
}
