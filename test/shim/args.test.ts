// The command line as containerd writes it, and as a person mistypes it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseArguments } from "../../src/shim/args.ts";

test("Go's three ways to write a flag are the same", () => {
  const ways = [["-id", "c1"], ["-id=c1"], ["--id", "c1"], ["--id=c1"]];
  for (const way of ways) assert.equal(parseArguments([...way, "-namespace", "n", "start"]).id, "c1");
});

test("containerd's call of start is understood", () => {
  const args = [
    "-namespace",
    "default",
    "-address",
    "/a.sock",
    "-publish-binary",
    "/usr/bin/containerd",
    "-id",
    "c1",
    "-debug",
    "start",
  ];
  assert.deepEqual(parseArguments(args), {
    action: "start",
    namespace: "default",
    address: "/a.sock",
    publishBinary: "/usr/bin/containerd",
    id: "c1",
    bundle: "",
    debug: true,
    version: false,
    info: false,
    probeState: false,
    adopt: false,
  });
});

test("a flag that is unknown or lacks its value is named", () => {
  assert.throws(() => parseArguments(["-nonsense"]), /not defined: -nonsense/);
  assert.throws(() => parseArguments(["-id"]), /needs an argument: -id/);
});
