// Who a process is, for holdfastd, which meets it again by what its client has written down.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { hasEnded, processIdentity } from "../../src/platform/node-process.ts";

test("a process that runs has not ended, and one that has is known for it", async () => {
  const child = spawn("sleep", ["100000"], { stdio: "ignore" });
  const identity = processIdentity(child.pid);
  assert.equal(hasEnded(identity), false);
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.equal(hasEnded(identity), true);
});

test("another process of the same number is another", () => {
  const [pid, started, namespace] = processIdentity().split(" ");
  assert.equal(hasEnded(`${pid} ${Number(started) - 1} ${namespace}`), true);
});

test("of another pid namespace, or of what is no identity, nothing can be told", () => {
  const [pid, started] = processIdentity().split(" ");
  for (const text of [`${pid} ${Number(started) - 1} pid:[1]`, "", "self 1 pid:[1]", `../${pid} 1 x`, "1 2"])
    assert.equal(hasEnded(text), false, text);
});
