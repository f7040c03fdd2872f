// The API as the shim has it: bundled, without the directions it never uses, on an engine that has the bare language only.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import vm from "node:vm";
import { build, transformSync } from "esbuild";
import { shimCode, shimCodecs } from "../../scripts/shim-codecs.ts";
import { StateRequest, StateResponse } from "../../src/api/generated/task.ts";
import { TaskExit } from "../../src/api/generated/task_events.ts";

const root = join(import.meta.dirname, "../..");
const generated = join(root, "src/api/generated");

const SHIM = `
  import { TaskDefinition } from "./src/api/generated/task.ts";
  import * as events from "./src/api/generated/task_events.ts";
  import { ForwardRequest } from "./src/api/generated/forward.ts";
  import { Options, ProcessDetails } from "./src/api/generated/runc_options.ts";
  import { Options as RuntimeOptions } from "./src/api/generated/runtime_options.ts";
  import { useTextEncoding } from "./src/api/text-encoding.ts";
  globalThis.api = { TaskDefinition, events, ForwardRequest, Options, ProcessDetails, RuntimeOptions, useTextEncoding };
`;

async function bundle(): Promise<string> {
  const result = await build({
    stdin: { contents: SHIM, resolveDir: root, loader: "ts" },
    bundle: true,
    minify: true,
    write: false,
    format: "iife",
    plugins: [shimCodecs()],
  });
  return result.outputFiles[0]?.text ?? "";
}

interface Half {
  encode?(message: unknown): { finish(): Uint8Array };
  decode?(bytes: Uint8Array): unknown;
}

interface Api {
  TaskDefinition: { methods: Record<string, { requestType: Half; responseType: Half }> };
  events: Record<string, Half>;
  useTextEncoding(text: { encode(text: string): Uint8Array; decode(bytes: Uint8Array): string }): void;
}

async function load(): Promise<Api> {
  const context: { api?: Api } = vm.createContext({});
  vm.runInContext(
    "for (const name of ['RegExp', 'Date', 'Proxy', 'Intl']) delete globalThis[name];",
    context,
  );
  vm.runInContext(await bundle(), context);
  assert.ok(context.api);
  const { api } = context;
  api.useTextEncoding({
    encode: (text) => new TextEncoder().encode(text),
    decode: (bytes) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes),
  });
  return api;
}

test("the shim reads requests and writes responses and events on the bare language", async () => {
  const api = await load();
  const { requestType, responseType } = api.TaskDefinition.methods.state ?? assert.fail();
  const request = { id: "ünï\u{1f600}", execId: "\ufeff" };
  assert.deepEqual({ ...(requestType.decode?.(StateRequest.encode(request).finish()) as object) }, request);
  const response = {
    ...StateResponse.decode(new Uint8Array()),
    bundle: `/${"ä".repeat(100)}`,
    pid: 7,
    exitedAt: { seconds: 1_700_000_000n, nanos: 5 },
  };
  assert.deepEqual(StateResponse.decode(responseType.encode?.(response).finish() ?? assert.fail()), response);
  const exit = { containerId: "c", id: "c", pid: 7, exitStatus: 137, exitedAt: { seconds: -1n, nanos: 1 } };
  assert.deepEqual(TaskExit.decode(api.events.TaskExit?.encode?.(exit).finish() ?? assert.fail()), exit);
});

test("every method keeps the directions that a server needs, and no other of its own", async () => {
  const api = await load();
  const methods = Object.entries(api.TaskDefinition.methods);
  assert.equal(methods.length, 17);
  for (const [name, { requestType, responseType }] of methods) {
    assert.deepEqual(Object.keys(requestType), ["decode"], name);
    assert.ok(responseType.encode !== undefined, name);
  }
  for (const [name, half] of Object.entries(api.events))
    assert.deepEqual(Object.keys(half), ["encode"], name);
});

test("task API, events and options stay below 30 KB in the shim", async () => {
  assert.ok((await bundle()).length < 30_000);
});

test("a generated file that looks otherwise is refused, not half stripped", () => {
  const code = readFileSync(join(generated, "task.ts"), "utf8");
  assert.throws(() => shimCode("task.ts", code.replaceAll("  encode(", "  write(")), /no encode\(\)/);
});

test("generated code has no regular expression, date or proxy", () => {
  const files = readdirSync(generated, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  assert.ok(files.length > 10);
  for (const name of files) {
    const { code } = transformSync(readFileSync(join(generated, name), "utf8"), { loader: "ts" }); // without comments
    assert.doesNotMatch(code, /\b(RegExp|Date|Proxy|Intl|eval|Buffer)\b|[=(,]\s*\/[^/*]/, name);
  }
});

test("the generated code is up to date with the protos", () => {
  const check = spawnSync("node", ["--import", "tsx", "scripts/generate.ts", "--check"], {
    cwd: root,
    encoding: "utf8",
  });
  assert.equal(check.status, 0, check.stderr);
});
