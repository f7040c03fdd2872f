// What the shim reads of config.json, of files as nobody writes them on purpose.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Platform } from "../../src/platform/platform.ts";
import { hostIds, readSpec } from "../../src/runc/bundle.ts";

function specOf(value: unknown) {
  const platform = { files: { read: () => JSON.stringify(value) } } as unknown as Platform;
  return readSpec(platform, "/bundle");
}

test("mappings, namespaces and annotations that are none are the runtime's to refuse", () => {
  const linux = {
    uidMappings: [null, 1, { containerID: "0", hostID: {}, size: null }],
    namespaces: [null, 1],
  };
  const spec = specOf({ linux, annotations: [1], process: { user: null } });
  assert.deepEqual(hostIds(spec, spec.user), { uid: 0, gid: 0 });
  assert.equal(spec.privatePidNamespace, false);
});
