// What is fuzzed in C: harnesses in native/, what they are linked with, and what they begin with.
import { layerSeeds } from "./seeds/layers.ts";

export interface NativeTarget {
  /** Its harness is native/NAME.c. */
  readonly name: string;
  /** One line, for the list. */
  readonly what: string;
  /** Further files, from native/ of this directory and of the repository. */
  readonly harness: readonly string[];
  readonly sources: readonly string[];
  /** Functions that the harness has its own versions of. */
  readonly wrapped: readonly string[];
  readonly archives: boolean;
  seeds(): ReadonlyMap<string, Uint8Array>;
  /** Pieces that inputs are made of. */
  readonly words: readonly string[];
}

/** With what an unpacker that is left in the middle leaves open. */
const HANDLES = [
  "archive_read_new",
  "archive_write_new",
  "archive_write_disk_new",
  "archive_free",
  "archive_read_free",
  "archive_write_free",
  "opendir",
  "closedir",
];

const TAR_WORDS = [
  "ustar",
  ".wh.",
  ".wh..wh..opq",
  "../",
  "././@LongLink",
  "GNU.sparse.major=1",
  "GNU.sparse.map=0,1",
  "SCHILY.xattr.user.a=b",
  "SCHILY.acl.access=user::rwx",
  "LIBARCHIVE.xattr.user.a=eA==",
  "linkpath=",
  "path=",
  "size=",
  "mtime=-1.5",
  "uid=4294967295",
];

export const nativeTargets: readonly NativeTarget[] = [
  {
    name: "layer",
    what: "layers and archives, packed or not, at the unpacker and libarchive: nothing outside of the root changes",
    harness: ["sandbox.c", "tar-mutator.c"],
    sources: ["layer/extract.c", "layer/stream.c", "layer/mounts.c", "layer/names.c"],
    wrapped: HANDLES,
    archives: true,
    seeds: layerSeeds,
    words: TAR_WORDS,
  },
  {
    name: "roundtrip",
    what: "the tree that a layer makes, made into a layer by diff: it makes the same tree again",
    harness: ["sandbox.c", "tar-mutator.c"],
    sources: [
      "layer/extract.c",
      "layer/stream.c",
      "layer/mounts.c",
      "layer/names.c",
      "layer/walk.c",
      "layer/links.c",
      "layer/sink.c",
      "layer/attributes.c",
    ],
    wrapped: HANDLES,
    archives: true,
    seeds: layerSeeds,
    words: TAR_WORDS,
  },
];
