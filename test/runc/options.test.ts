// Runtime options as a Create request carries them: containerd's message, and the CRI plugin's TOML.
import assert from "node:assert/strict";
import { test } from "node:test";
import { pack, RUNC_OPTIONS, RUNTIME_OPTIONS } from "../../src/api/any.ts";
import { Options } from "../../src/api/generated/runc_options.ts";
import { Options as GenericOptions } from "../../src/api/generated/runtime_options.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { defaultOptions, parseFlatToml, readOptions } from "../../src/runc/options.ts";

const platform = {
  text: {
    encode: (text: string) => new TextEncoder().encode(text),
    decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes),
  },
} as Platform;

function generic(body: string): Parameters<typeof readOptions>[1] {
  return pack(RUNTIME_OPTIONS, GenericOptions, {
    typeUrl: "io.containerd.runtime.v1.opts",
    configPath: "",
    configBody: new TextEncoder().encode(body),
  });
}

test("no options are the defaults", () => {
  assert.deepEqual(readOptions(platform, undefined), defaultOptions);
  assert.deepEqual(readOptions(platform, { typeUrl: "", value: new Uint8Array() }), defaultOptions);
});

test("containerd's own options are taken, and empty names mean the defaults", () => {
  const options = Options.decode(new Uint8Array());
  const any = pack(RUNC_OPTIONS, Options, { ...options, binaryName: "crun", systemdCgroup: true, ioUid: 7 });
  assert.deepEqual(readOptions(platform, any), {
    ...defaultOptions,
    binary: "crun",
    systemdCgroup: true,
    ioUid: 7,
  });
});

test("a type URL with Google's prefix is the same type", () => {
  const any = pack(`type.googleapis.com/${RUNC_OPTIONS}`, Options, {
    ...Options.decode(new Uint8Array()),
    root: "/r",
  });
  assert.equal(readOptions(platform, any).root, "/r");
});

test("the CRI plugin's TOML body is taken", () => {
  const any = generic(`
    BinaryName = "/usr/bin/crun" # the runtime
    'Root' = '/run/a # b'
    SystemdCgroup = true
    IoUid = 1000
    CriuPath = ""
    [plugins]
    BinaryName = "not this one"
  `);
  assert.deepEqual(readOptions(platform, any), {
    ...defaultOptions,
    binary: "/usr/bin/crun",
    root: "/run/a # b",
    systemdCgroup: true,
    ioUid: 1000,
  });
});

test("integers are read in all of TOML's spellings", () => {
  const spellings = "a = 1_000\nb = +1000\nc = 0x3_e8\nd = 0o1750\ne = 0b11_1110_1000\n";
  assert.deepEqual([...parseFlatToml(spellings, "here").values()], [1000, 1000, 1000, 1000, 1000]);
  assert.deepEqual([...parseFlatToml("a = _1\nb = 1_\nc = 1__0\nd =\n", "here")], []);
});

test("a value of the wrong kind names its key and its source", () => {
  assert.throws(
    () => readOptions(platform, generic('SystemdCgroup = "yes"')),
    /config_body: SystemdCgroup is not a boolean/,
  );
});

test("options of an unknown type are refused by name", () => {
  assert.throws(
    () => readOptions(platform, { typeUrl: "x.y.Z", value: new Uint8Array() }),
    /unknown type x\.y\.Z/,
  );
});

test("flat TOML: a text that ends in a backslash", () => {
  const values = parseFlatToml('a = "C:\\\\"\nb = "x\\\\\\"y" # z\n', "t");
  assert.deepEqual(
    [...values],
    [
      ["a", "C:\\"],
      ["b", 'x\\"y'],
    ],
  );
});

test("flat TOML: escapes, quotes, comments, and lines that are none", () => {
  const values = parseFlatToml('a = "x\\"y\\n"\nb=\'c:\\d\'\n\n# c = 1\nd = 12 # twelve\ne = [1]\n', "t");
  assert.deepEqual(
    [...values],
    [
      ["a", 'x"y\n'],
      ["b", "c:\\d"],
      ["d", 12],
    ],
  );
  assert.throws(() => parseFlatToml('a = 1\nb = "\\q"', "t"), /t: line 2: a malformed string: "\\q"/);
  assert.throws(() => parseFlatToml("a = 1\nnonsense", "t"), /t: line 2: expected KEY = VALUE: nonsense/);
});
