// What archives of images have in them beside blobs: the names of images, by the annotations that Docker and containerd write.
import { posix } from "node:path";
import type { Descriptor } from "../registry/descriptor.ts";

/** The whole name of an image. */
export const NAME_ANNOTATION = "io.containerd.image.name";
/** By OCI's specification a tag, or a whole name. */
export const REF_ANNOTATION = "org.opencontainers.image.ref.name";
/** Of manifest.json, index.json and whatever else is read into memory, in bytes. */
export const MAX_JSON: number = 8 * 1024 * 1024;
/** Links to links, one after the other. */
const MAX_LINKS = 4;

/** A file's place in an archive, however it is written: "./a/../b", "/b" and "b" are one. */
export function archivePath(name: string): string {
  return posix.normalize(`/${name}`).slice(1);
}

/** Where a link of an archive leads. */
export interface ArchiveLink {
  readonly type: "link" | "symlink";
  readonly target: string;
}

/** Gives `files` the names that links to them have, also links to links. What leads nowhere, or in a circle, is left out. */
export function addLinked<T>(files: Map<string, T>, links: ReadonlyMap<string, ArchiveLink>): void {
  const follow = (path: string, depth: number): T | undefined => {
    const found = files.get(path);
    const link = links.get(path);
    if (found !== undefined || link === undefined || depth > MAX_LINKS) return found;
    const isBeside = link.type === "symlink" && !link.target.startsWith("/");
    const beside = isBeside
      ? follow(archivePath(posix.join(posix.dirname(path), link.target)), depth + 1)
      : undefined;
    // Some programs write the whole path into a symbolic link too.
    return beside ?? follow(archivePath(link.target), depth + 1);
  };
  for (const path of links.keys()) {
    const found = follow(path, 0);
    if (found !== undefined) files.set(path, found);
  }
}

/** How an import makes names of what an archive says (containerd's images/archive). */
export interface NameRule {
  /** Without tag or digest, if it is a prefix. */
  readonly name: string;
  readonly isPrefix: boolean;
  /** A whole name in the archive counts, whatever it begins with. */
  readonly allowOverwrite: boolean;
  /** A name by digest too. */
  readonly addDigest: boolean;
  /** But not for what has another. */
  readonly skipNamedDigest: boolean;
}

/** The names that a manifest of an archive gets. */
export function namesFor({ digest, annotations = {} }: Descriptor, rules: readonly NameRule[]): string[] {
  return rules
    .filter(({ isPrefix }) => isPrefix)
    .flatMap((rule) => {
      const name = nameBy(rule, annotations);
      const byDigest = `${rule.name}@${digest}`;
      if (name === "") return rule.addDigest ? [byDigest] : [];
      return rule.addDigest && !rule.skipNamedDigest ? [name, byDigest] : [name];
    });
}

function nameBy(rule: NameRule, annotations: Readonly<Record<string, string>>): string {
  const { [NAME_ANNOTATION]: whole = "", [REF_ANNOTATION]: ref = "" } = annotations;
  if (whole !== "") return translated(rule, whole) === whole ? whole : "";
  return ref === "" ? "" : translated(rule, ref);
}

function translated({ name, allowOverwrite }: NameRule, ref: string): string {
  if (!/[/:@]/.test(ref)) return `${name}:${ref}`;
  const hasPrefix = ref.startsWith(name) && [undefined, "/", ":", "@"].includes(ref[name.length]);
  return allowOverwrite || hasPrefix ? ref : "";
}

/** docker.io/library/redis:7 for redis:7, as archives of docker save name images. */
export function wholeName(text: string): string {
  const slash = text.indexOf("/");
  const first = slash < 0 ? "" : text.slice(0, slash);
  if (/[.:]/.test(first) || first === "localhost") return text;
  return slash < 0 ? `docker.io/library/${text}` : `docker.io/${text}`;
}

/** The other way round. */
export function familiarName(name: string): string {
  return name.replace(/^docker\.io\/(library\/)?/, "");
}
