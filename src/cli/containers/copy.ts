// `holdfast cp`: what is copied where, by Docker's rules, and how it goes through a tar from one root to the other.
import { once } from "node:events";
import { realpathSync } from "node:fs";
import { posix, resolve } from "node:path";
import { PassThrough, type Readable } from "node:stream";
import type { FileRoot, RootFiles } from "../../images/root-files.ts";
import { Problem } from "../text/problem.ts";

/** A place in a container, or on the host. */
export interface Place {
  /** As it was given, for messages. */
  readonly text: string;
  readonly path: string;
  /** undefined on the host. */
  readonly root: FileRoot | undefined;
}

export interface CopyOptions {
  /** Follow a link that is the source. */
  readonly follow: boolean;
  /** Keep owners; else what is copied into a container is root's, and what comes out of it ours. */
  readonly keepOwners: boolean;
}

const HOST: FileRoot = { directory: "/" };

/** The place of "CONTAINER:PATH", or of a path on the host; of the former the root is found by `rootOf`. */
export async function placeOf(
  text: string,
  rootOf: (container: string) => Promise<FileRoot>,
): Promise<Place> {
  if (!isInContainer(text)) return { text, path: keepEnd(text, resolve(text)), root: undefined };
  const colon = text.indexOf(":");
  const inside = text.slice(colon + 1);
  if (inside === "") throw new Problem(`${text}: give a path in the container`);
  const root = await rootOf(text.slice(0, colon));
  return { text, path: keepEnd(inside, posix.resolve("/", inside)), root };
}

/** As with Docker: what begins like a path is one, whatever is in it. */
export function isInContainer(text: string): boolean {
  return text.indexOf(":") > 0 && !/^[./]/.test(text);
}

/** "/" and "/." at the end mean something. */
function keepEnd(text: string, path: string): string {
  const end = /(?:^|\/)\.$/.test(text) ? "/." : text.endsWith("/") ? "/" : "";
  return path === "/" ? `/${end === "/." ? "." : ""}` : `${path}${end}`;
}

export async function copy(files: RootFiles, from: Place, to: Place, options: CopyOptions): Promise<void> {
  const source = from.root ?? HOST;
  const kind = await files.look(source, from.path);
  if (kind === "none" || (kind === "dangling" && (options.follow || from.path.endsWith("/"))))
    throw new Problem(`${from.text}: no such file or directory`);
  if (from.path.endsWith("/") && kind !== "directory") throw new Problem(`${from.text}: not a directory`);
  const { directory, name } = await targetOf(files, from, to, kind === "directory");
  const isContent = isContentPath(from.path) && name === undefined;
  const path = isContent ? from.path : bare(from.path);
  const follow = options.follow || from.path !== path;
  const tar = new PassThrough();
  const taking = files
    .take(source, path, follow && !isContent, (bytes) => write(tar, bytes))
    .then(
      () => void tar.end(),
      (error: Error) => {
        tar.destroy(error);
        throw error;
      },
    );
  // The name that the source has, also where that is a link to another.
  const first = isContent ? undefined : (name ?? posix.basename(path));
  const putting = put(files, to, directory, tar, first, options).finally(() => tar.destroy());
  const [taken, written] = await Promise.allSettled([taking, putting]);
  if (taken.status === "rejected" && !(taken.reason instanceof Cut)) throw taken.reason;
  if (written.status === "rejected") throw written.reason;
}

/** Unpacks a tar into a directory that must be there. */
export async function copyArchive(
  files: RootFiles,
  input: Readable,
  to: Place,
  options: CopyOptions,
): Promise<void> {
  if ((await files.look(to.root ?? HOST, to.path)) !== "directory")
    throw new Problem(`${to.text}: an archive is unpacked into a directory`);
  await put(files, to, to.path, input, undefined, options);
}

/** Into which directory, and under which name; undefined for the source's own. */
async function targetOf(
  files: RootFiles,
  from: Place,
  to: Place,
  isDirectory: boolean,
): Promise<{ directory: string; name: string | undefined }> {
  const root = to.root ?? HOST;
  const kind = await files.look(root, to.path);
  if (kind === "directory") return { directory: to.path, name: undefined };
  if (kind === "other") throw new Problem(`${to.text}: neither a file nor a directory`);
  if (kind === "file" && isDirectory) throw new Problem(`${from.text} is a directory, and ${to.text} a file`);
  if (to.path.endsWith("/") && (kind === "file" || !isDirectory))
    throw new Problem(`${to.text}: no such directory`);
  const path = bare(to.path);
  const directory = posix.dirname(path);
  if ((await files.look(root, directory)) !== "directory")
    throw new Problem(`${to.text}: no such directory as ${directory}`);
  return { directory, name: posix.basename(path) };
}

function put(
  files: RootFiles,
  to: Place,
  directory: string,
  input: Readable,
  name: string | undefined,
  { keepOwners }: CopyOptions,
): Promise<void> {
  const { uid, gid } = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const owner = keepOwners ? undefined : to.root === undefined ? `${uid}:${gid}` : "0:0";
  // What comes out of a container may have links: on the host they must not lead out of the directory that it is unpacked into.
  if (to.root === undefined)
    return files.put({ directory: realpathSync(directory) }, "/", input, { name, owner });
  return files.put(to.root, directory, input, { name, owner });
}

function isContentPath(path: string): boolean {
  return path === "/" || path.endsWith("/.");
}

function bare(path: string): string {
  return path.replace(/\/\.?$/, "") || "/";
}

/** Nobody reads any more; why is the reader's to say. */
class Cut extends Error {}

async function write(tar: PassThrough, bytes: Uint8Array): Promise<void> {
  if (tar.destroyed) throw new Cut();
  if (tar.write(bytes)) return;
  const closed = once(tar, "close").then(() => {
    throw new Cut();
  });
  closed.catch(() => {});
  await Promise.race([once(tar, "drain"), closed]);
}
