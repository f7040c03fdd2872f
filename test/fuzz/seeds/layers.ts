// Layers to begin with, made by what makes the hostile ones of test/images. The first byte is how they are unpacked: see native/layer.c.
import { gzipSync } from "node:zlib";
import { type Entry, entryBytes, gnuLongName, tar } from "../../images/tar.ts";

const LONG = "long/".repeat(40);

const ARCHIVES: readonly (readonly Entry[])[] = [
  [
    { name: "dir/", type: "5", mode: 0o1777, uid: 7, gid: 8, mtime: 1_000_000_000 },
    { name: "dir/file", data: "text", mode: 0o4755, uid: 1000, gid: 1001 },
    { name: "dir/hard2", type: "1", link: "dir/file" },
    { name: "soft", type: "2", link: "/dir/file" },
    { name: "null", type: "3", major: 1, minor: 3, mode: 0o666 },
    { name: "block", type: "4", major: 7, minor: 0 },
    { name: "pipe", type: "6" },
  ],
  [
    { name: "dir/.wh.file" },
    { name: "dir/sub/.wh..wh..opq" },
    { name: "dir/sub/new", data: "new" },
    { name: ".wh..wh.plnk" },
  ],
  [
    { name: "out", type: "2", link: "../../outside" },
    { name: "out/x", data: "y" },
    { name: "../../outside/file", data: "z" },
    { name: "/absolute/x", data: "y" },
  ],
  [
    { name: "up/file", data: "changed" },
    { name: "h", type: "1", link: "up/file" },
    { name: "link", type: "5" },
    { name: "link/a/b/c", data: "" },
  ],
  [
    { name: "a", type: "2", link: "b" },
    { name: "b", type: "2", link: "a" },
    { name: "a/b/c", data: "x" },
  ],
  [
    {
      name: "pax",
      data: "x".repeat(700),
      pax: {
        path: `${LONG}file`,
        mtime: "1700000000.123456789",
        "SCHILY.xattr.user.a": "b",
        "SCHILY.xattr.security.capability": "\u0001\u0000\u0000\u0002",
        uid: "4294967294",
        size: "700",
      },
    },
    { name: "linked", type: "1", link: "x", pax: { linkpath: `${LONG}file` } },
    {
      name: "sparse",
      data: "0123456789",
      pax: {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": "5000",
        "GNU.sparse.numblocks": "1",
        "GNU.sparse.map": "4000,10",
      },
    },
    {
      name: "sparse1",
      data: `1\n100\n10\n${"\0".repeat(503)}0123456789`,
      pax: {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "real",
        "GNU.sparse.realsize": "200",
      },
    },
    {
      name: "acl",
      data: "",
      pax: { "SCHILY.acl.access": "user::rwx,group::r-x,other::---", "LIBARCHIVE.xattr.user.x": "eA==" },
    },
  ],
  [{ name: "negative", size: Buffer.from([0xff, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]) }],
  [{ name: "S", type: "S", data: "" }, { name: "g", type: "g", data: "19 comment=global\n" }, { name: "" }],
];

/** xz and bzip2 of "x\n", which Node does not make. */
const XZ = Buffer.from(
  "/Td6WFoAAATm1rRGAgAhARYAAAB0L+WjAQABeAoAAAA3SlHcM6LKsAABGgLcLqV+H7bzfQEAAAAABFla",
  "base64",
);
const BZIP2 = Buffer.from("QlpoOTFBWSZTWSs+z38AAADAgAAQAEAgACEAgrF3JFOFCQKz7Pfw", "base64");

export function layerSeeds(): Map<string, Buffer> {
  const seeds = new Map<string, Buffer>();
  const add = (name: string, options: number, bytes: Buffer): void => {
    seeds.set(name, Buffer.concat([Buffer.from([options]), bytes]));
  };
  ARCHIVES.forEach((entries, index) => {
    add(`plain-${index}`, index % 8, tar(entries));
    add(`layer-${index}`, 0, tar(entries));
    add(`gzip-${index}`, 0, gzipSync(tar(entries)));
  });
  const long = Buffer.concat([gnuLongName(`${LONG}gnu`), entryBytes({ name: "short", data: "1" }), tar([])]);
  add("gnu", 0, long);
  const twice = Buffer.concat([
    gzipSync(entryBytes({ name: "one", data: "1" })),
    gzipSync(tar([{ name: "two" }])),
  ]);
  add("members", 0, twice);
  add("xz", 0, XZ);
  add("bzip2", 0, BZIP2);
  add("nothing", 0, Buffer.alloc(0));
  return seeds;
}
