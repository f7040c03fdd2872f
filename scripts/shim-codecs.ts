// esbuild plugin for the shim's bundle: leaves out of src/api/generated the directions that a shim never uses. It reads requests and
// options, and writes responses and events; the other half would be a third of the API's code, in the memory of every shim.

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { Plugin } from "esbuild";

type Method = "encode" | "decode";

/** What a shim never does with a message, by the file that describes it. What matches nothing is kept whole. */
const UNUSED: Readonly<Record<string, ReadonlyArray<{ drop: Method; from: (message: string) => boolean }>>> =
  {
    "task.ts": [
      { drop: "encode", from: (message) => message.endsWith("Request") },
      { drop: "decode", from: (message) => message.endsWith("Response") },
    ],
    "process.ts": [{ drop: "decode", from: () => true }],
    "task_events.ts": [{ drop: "decode", from: () => true }],
    "forward.ts": [{ drop: "decode", from: () => true }],
    "runtime_info.ts": [{ drop: "decode", from: (message) => !message.endsWith("Entry") }],
    "runc_options.ts": [
      { drop: "encode", from: (message) => message.endsWith("Options") },
      { drop: "decode", from: (message) => message === "ProcessDetails" },
    ],
    "runtime_options.ts": [{ drop: "encode", from: () => true }],
    "bootstrap.ts": [
      { drop: "encode", from: (message) => message === "BootstrapParams" || message === "Extension" },
      { drop: "decode", from: (message) => message.startsWith("BootstrapResult") },
    ],
  };

const MESSAGE_END = "\n};\n";
const METHOD_END = "\n  },\n";

function dropMethod(message: string, method: Method): string {
  const at = message.indexOf(`\n  ${method}(`);
  const end = message.indexOf(METHOD_END, at);
  if (at < 0 || end < 0) throw new Error(`no ${method}() where one was: ${message.slice(0, 60)}`);
  return message.slice(0, at) + message.slice(end + METHOD_END.length - 1);
}

/** The generated file without what the shim never uses. Throws if the file does not look as ts-proto leaves it. */
export function shimCode(file: string, code: string): string {
  const rules = UNUSED[file] ?? [];
  const start = /^export const (\w+): MessageFns<\1> = \{$/gm;
  let result = "";
  let done = 0;
  for (const found of code.matchAll(start)) {
    const end = code.indexOf(MESSAGE_END, found.index);
    let message = code.slice(found.index, end);
    for (const rule of rules) {
      if (rule.from(found[1] ?? "")) message = dropMethod(`${message}\n`, rule.drop).trimEnd();
    }
    result += code.slice(done, found.index) + message;
    done = end;
  }
  return result + code.slice(done);
}

export function shimCodecs(): Plugin {
  return {
    name: "shim-codecs",
    setup(build) {
      build.onLoad({ filter: /[/\\]src[/\\]api[/\\]generated[/\\][a-z_]+\.ts$/ }, ({ path }) => ({
        contents: shimCode(basename(path), readFileSync(path, "utf8")),
        loader: "ts",
      }));
    },
  };
}
