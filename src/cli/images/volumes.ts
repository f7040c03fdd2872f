// The volumes that an image declares: directories of the container's own, with what the image has there, also where its root is read-only. They are
// in a snapshot of their own, which the container keeps by a label, and go with it.
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join, posix } from "node:path";
import { PassThrough } from "node:stream";
import type { RootFiles } from "../../images/root-files.ts";
import type { Mount } from "../containers/mounts.ts";
import { withRootFiles } from "../containers/root.ts";
import type { SpecFlags } from "../containers/spec-flags.ts";
import { Problem } from "../text/problem.ts";
import type { PreparedImage } from "./prepare.ts";
import type { ImageStore } from "./store.ts";
import { withView } from "./views.ts";

export interface Volumes {
  readonly mounts: readonly Mount[];
  /** For the container. */
  readonly labels: Readonly<Record<string, string>>;
}

/** Volumes where no flag mounts anything. Throws a Problem for an image whose volumes make no sense. */
export async function makeVolumes(
  store: ImageStore,
  id: string,
  image: PreparedImage,
  { mounts }: Pick<SpecFlags, "mounts">,
): Promise<Volumes> {
  const taken = new Set(mounts.map(({ destination }) => posix.resolve("/", destination)));
  const declared = new Set(
    Object.keys(image.config.config?.Volumes ?? {}).map((path) => posix.resolve("/", path)),
  );
  if (declared.has("/")) throw new Problem(`${image.name}: it declares its root as a volume`);
  const paths = [...declared].filter((path) => !taken.has(path));
  if (paths.length === 0) return { mounts: [], labels: {} };
  const { snapshotter } = image;
  const key = `${id}-volumes-${randomBytes(4).toString("hex")}`;
  const request = { snapshotter, key, parent: "", labels: {} };
  const [place] = (await store.daemon.snapshots.prepare(request)).mounts;
  const root = place?.source ?? "";
  const made = paths.map((destination, index) => ({ destination, source: join(root, String(index)) }));
  for (const { source } of made) mkdirSync(source, { mode: 0o755 });
  await withView(store, snapshotter, image.parent, (layers) =>
    withRootFiles(async (files) => {
      for (const { destination, source } of made) await fill(files, layers, destination, source);
    }),
  );
  return {
    mounts: made.map((each) => ({ ...each, type: "bind", options: ["rbind", "rw"] })),
    labels: { [`containerd.io/gc.ref.snapshot.${snapshotter}/volumes`]: key },
  };
}

/** What the image has there, owner and mode of the directory included. */
async function fill(
  files: RootFiles,
  mounts: Parameters<Parameters<typeof withView>[3]>[0],
  path: string,
  directory: string,
): Promise<void> {
  if ((await files.look({ mounts }, path)) !== "directory") return;
  const tar = new PassThrough();
  const taking = files
    .take({ mounts }, `${path}/.`, false, async (bytes) => {
      if (!tar.write(bytes)) await new Promise((resolve) => tar.once("drain", resolve));
    })
    .finally(() => tar.end());
  await Promise.all([taking, files.put({ directory }, "/", tar)]);
}
