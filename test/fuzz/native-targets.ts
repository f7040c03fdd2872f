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
  /** With the JavaScript engine, and the shim's host around it. */
  readonly engine: boolean;
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
    harness: ["sandbox.c", "unpacking.c", "tar-mutator.c"],
    sources: ["layer/extract.c", "layer/stream.c", "layer/mounts.c", "layer/names.c"],
    wrapped: HANDLES,
    archives: true,
    engine: false,
    seeds: layerSeeds,
    words: TAR_WORDS,
  },
  {
    name: "roundtrip",
    what: "the tree that a layer makes, made into a layer by diff: it makes the same tree again",
    harness: ["sandbox.c", "unpacking.c", "tar-mutator.c"],
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
    engine: false,
    seeds: layerSeeds,
    words: TAR_WORDS,
  },
  {
    name: "text",
    what: "bytes as text and back, and hashes, in the shim's host: always UTF-8, and what nettle says",
    harness: ["engine.c"],
    sources: ["values.c", "mod_bytes.c", "sha256.c"],
    wrapped: [],
    archives: false,
    engine: true,
    seeds: () => seedsOf("a", "\u00e9\u20ac\u{1f4a5}", "\ufffd\ufeff", "x".repeat(119)),
    words: ["\u{10ffff}", "\u07ff", "\u0800"],
  },
  {
    name: "json",
    what: "JSON as the engine reads it: what is written again is read as the same",
    harness: ["engine.c"],
    sources: ["values.c"],
    wrapped: [],
    archives: false,
    engine: true,
    seeds: () =>
      seedsOf(
        '{"a":[1,-2.5e3,true,null,"\\u00e9\\ud83d\\n"],"":{}}',
        "[]",
        '"x"',
        "[".repeat(300),
        '{"__proto__":1}',
      ),
    words: [
      '":',
      "null",
      "1e308",
      "\\u0000",
      "\\ud800",
      "[[[[",
      '{"a":',
      "-0",
      "toJSON",
      "18446744073709551616",
    ],
  },
  {
    name: "relay",
    what: "relays between pipes, files and terminals, redirected and held back: every byte once, in order",
    harness: ["engine.c"],
    sources: ["values.c", "relay.c", "append.c", "loop.c", "timers.c", "failpoint.c"],
    wrapped: ["epoll_wait"],
    archives: false,
    engine: true,
    seeds: operationSeeds,
    words: [],
  },
  {
    name: "keeper",
    what: "the keeper under a kernel of the fuzzer's own: each exit handed on once, whatever has become of the page it shares",
    harness: [],
    sources: [],
    wrapped: [],
    archives: false,
    engine: false,
    seeds: operationSeeds,
    words: [],
  },
];

function seedsOf(...texts: readonly string[]): Map<string, Uint8Array> {
  return new Map(texts.map((text, index) => [`seed-${index}`, Buffer.from(text)]));
}

/** Lists of operations, each of two bytes, after one that sets the stage. */
function operationSeeds(): Map<string, Uint8Array> {
  const lists = Array.from({ length: 8 }, (_, kinds) => [
    kinds,
    ...Array.from({ length: 40 }, (_, step) => [step * (kinds + 1), (step * 37) % 256]).flat(),
  ]);
  return new Map(lists.map((list, index) => [`list-${index}`, Uint8Array.from(list)]));
}
