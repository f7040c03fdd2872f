// What a shim reads of a bundle and of a Create request: files that anyone may have damaged, and options in two languages.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { parse as parseToml } from "smol-toml";
import { RUNC_OPTIONS, RUNTIME_OPTIONS } from "../../../src/api/any.ts";
import { parsePolicy } from "../../../src/api/output-policy.ts";
import type { Platform } from "../../../src/platform/platform.ts";
import { readState } from "../../../src/platform/state-log.ts";
import { hostIds, readSpec } from "../../../src/runc/bundle.ts";
import { withMember } from "../../../src/runc/json-text.ts";
import { parseMountOptions } from "../../../src/runc/mount-options.ts";
import { parseFlatToml, readOptions } from "../../../src/runc/options.ts";
import { parseTarget } from "../../../src/stdio/target.ts";
import { readGoShimFiles } from "../../../src/task/go-shim-files.ts";
import { readJournal, readReaped } from "../../../src/task/journal.ts";
import { recordBatch, sealedBatch } from "../../harness/state-file.ts";
import { isMalformed, isWords, orRefusal, type ParserTarget, text, utf8 } from "./target.ts";

const MAGIC = Buffer.from("HFSTATE1");

/** A platform on which every file holds these bytes. */
function platformWith(bytes: Uint8Array): Platform {
  return {
    text: { encode: utf8, decode: text },
    sha256: (data: Uint8Array | string) => createHash("sha256").update(data).digest("hex"),
    files: {
      stat: () => ({ kind: "file", size: bytes.length }),
      read: () => text(bytes),
      readBytes: () => bytes,
    },
  } as unknown as Platform;
}

/** A state of one batch with these entries. */
function stateOf(...entries: readonly (string | undefined)[]): Buffer {
  return Buffer.concat([MAGIC, recordBatch(entries)]);
}

const state: ParserTarget = {
  name: "state",
  what: "a shim's state: records within the bytes that are there, whatever is torn. Half of the inputs get a right checksum",
  seeds: () => [
    stateOf("a", "text", "b", undefined, "a", "again").subarray(16),
    stateOf("a", "text"),
    Buffer.concat([stateOf("a", "1"), recordBatch(["b", "2"])]),
  ],
  run(input) {
    for (const bytes of [input, Buffer.concat([MAGIC, sealedBatch(input)])]) {
      const records = orRefusal(() => readState(platformWith(bytes), "/state"), isWords);
      let size = 0;
      for (const [key, content] of records ?? []) size += content.length + (key === "" ? 0 : 1);
      assert.ok(size <= bytes.length, `${size} bytes of records in ${bytes.length} bytes`);
    }
  },
};

const journal: ParserTarget = {
  name: "journal",
  what: "holdfast.state, holdfast.exits and the Go shim's files in a bundle: what is no such file is nothing",
  seeds: () => [
    utf8(
      JSON.stringify({
        version: 1,
        runtime: { binary: "runc", root: "/run/runc", systemdCgroup: true },
        pid: 42,
        exit: { status: 7, at: "1700000000000000000" },
      }),
    ),
    utf8("42 7 1700000000000000000\n43 137 1700000000000000000\n"),
    utf8(JSON.stringify({ binary_name: "runc", root: "/run/runc", systemd_cgroup: false })),
  ],
  run(input) {
    const platform = platformWith(input);
    const found = readJournal(platform, "/bundle");
    if (found?.pid !== undefined) assert.ok(Number.isInteger(found.pid) && found.pid > 0);
    for (const exit of [found?.exit, readReaped(platform, "/bundle", 42)])
      if (exit !== undefined) assert.ok(exit.status >= 0 && exit.status <= 255);
    const { binary, root } = readGoShimFiles(platform, "/bundle", (error) =>
      assert.ok(isWords(error), String(error)),
    );
    if (root !== undefined) assert.ok(root.startsWith("/") && !root.includes("\0"));
    if (binary !== undefined) assert.ok(binary !== "" && !binary.includes("\0"));
  },
};

const SPEC = {
  ociVersion: "1.0.2",
  process: { user: { uid: 1000, gid: 1000 }, args: ["true"] },
  annotations: { "io.holdfast.stdout": "spill:64m", "io.kubernetes.cri.sandbox-id": "a" },
  linux: {
    resources: { memory: { limit: 2 ** 53 } },
    namespaces: [{ type: "pid" }, { type: "user", path: "/proc/1/ns/user" }],
    uidMappings: [{ containerID: 0, hostID: 100000, size: 65536 }],
    gidMappings: [{ containerID: 0, hostID: 100000, size: 65536 }],
  },
};

const spec: ParserTarget = {
  name: "spec",
  what: "config.json: read, or refused in words; and one member of it changed without a change of any other",
  words: [
    '"annotations":',
    '"linux":null',
    '"uidMappings":[',
    '"namespaces":[null]',
    '"process":',
    "\\u0000",
    "\\\\",
    "18446744073709551615",
  ],
  seeds: () => [
    utf8(JSON.stringify(SPEC)),
    utf8(JSON.stringify(SPEC, null, 2)),
    utf8('{"process":1,"process":{"a":"}\\""}}'),
    utf8("{}"),
  ],
  run(input) {
    const found = orRefusal(() => readSpec(platformWith(input), "/bundle"), isWords);
    if (found === undefined) return;
    const { uid, gid } = hostIds(found, found.user);
    assert.ok(typeof uid === "number" && typeof gid === "number");
    orRefusal(() => parsePolicy(found.annotations["io.holdfast.stdout"]), isWords);
    const value = JSON.parse(text(input)) as Record<string, unknown>;
    if (Array.isArray(value)) return;
    const changed: unknown = JSON.parse(withMember(text(input), "process", '{"x":1}'));
    const wanted = new Map(Object.entries(value)).set("process", { x: 1 });
    assert.deepEqual(new Map(Object.entries(changed as object)), wanted);
  },
};

const FLAT = `# options
BinaryName = "crun"
Root = '/run/crun'
SystemdCgroup = true
IoUid = 1000 # user
"ShimCgroup" = "a\\"b\\u00e9"
`;

const options: ParserTarget = {
  name: "options",
  what: "runtime options as protobuf and as TOML: what both we and a whole reader of TOML take is the same to both",
  words: [
    "BinaryName",
    "SystemdCgroup",
    " = ",
    '"',
    "'",
    "true",
    "false",
    "\\",
    "\\u0041",
    "#",
    "\n",
    "[table]",
    "1_000",
    "0x10",
    "1.0",
    "inf",
  ],
  seeds: () => [
    utf8(FLAT),
    utf8('a = "C:\\\\"\n'),
    utf8("a = 'x' # y\nb = 7\n[t]\na = 1\n"),
    utf8("\x1a\x04crun"),
  ],
  run(input) {
    orRefusal(() => readOptions(platformWith(input), { typeUrl: RUNC_OPTIONS, value: input }), isMalformed);
    orRefusal(
      () => readOptions(platformWith(input), { typeUrl: RUNTIME_OPTIONS, value: input }),
      isMalformed,
    );
    const ours = orRefusal(() => parseFlatToml(text(input), "config_body"), isWords);
    let whole: Record<string, unknown>;
    try {
      whole = parseToml(text(input));
    } catch {
      return; // what is no TOML is whatever it is
    }
    for (const [name, value] of Object.entries(whole)) {
      if (!/^\w+$/.test(name) || typeof value === "object" || typeof value === "bigint") continue;
      // Keys with dots, lines that go on, numbers with a fraction: no option is written so.
      if (typeof value === "number" && !Number.isInteger(value)) continue;
      if (/"""|'''|\\U|[[{]|^\s*["'\w-]+\s*\./m.test(text(input)) || text(input).includes("\r")) continue;
      assert.equal(ours?.get(name), value, `${name} of ${JSON.stringify(text(input))}`);
    }
  },
};

const stdio: ParserTarget = {
  name: "stdio",
  what: "the URIs of a container's output, and mount options: taken apart, or refused in words",
  words: [
    "binary://",
    "fifo:///",
    "file:///",
    "binary-v2:",
    "?a=b&c",
    "%00",
    "%2e",
    "#f",
    "lowerdir=/a/b:/a/c",
    "upperdir=",
    "loop",
    "uidmap=0:1:2",
    "rbind,rw",
    ",",
  ],
  seeds: () =>
    [
      "binary:///bin/logger?a=b&c#d",
      "fifo:///run/a%20b",
      "file:///x",
      "/run/fifo",
      "lowerdir=/a/b:/a/c,ro,rshared,loop",
    ].map(utf8),
  run(input) {
    const given = text(input);
    const target = orRefusal(() => parseTarget(platformWith(input), given), isWords);
    if (target?.kind === "logger")
      assert.ok(target.program.startsWith("/") && !target.program.includes("\0"));
    const mount = orRefusal(() => parseMountOptions("overlay", given.split(",")), isWords);
    if (mount !== undefined) assert.ok(mount.data.length <= 4095);
  },
};

export const bundleTargets: readonly ParserTarget[] = [state, journal, spec, options, stdio];
