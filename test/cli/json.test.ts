// docs/json.md is what the verbs print: every key is described, and every key that is described is there unless it is optional.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { eventually } from "../harness/eventually.ts";
import { importImage } from "../harness/image.ts";
import { onDaemon } from "./cli.ts";

interface Described {
  readonly types: readonly string[];
  readonly optional: boolean;
}

type Page = Map<string, Map<string, Described>>;

const page = readPage(readFileSync(join(import.meta.dirname, "../../docs/json.md"), "utf8"));

/** Its tables, by heading. */
function readPage(text: string): Page {
  const found: Page = new Map();
  for (const section of text.split(/^## /m).slice(1)) {
    const rows = [...section.matchAll(/^\| `([^`]+)` \| ([^|]+) \|/gm)].map(([, key = "", type = ""]) => {
      const optional = type.endsWith(", optional");
      const types = type.replace(", optional", "").split(" or ");
      return [key, { types, optional }] as const;
    });
    found.set(section.split("\n")[0] ?? "", new Map(rows));
  }
  return found;
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;

function typesOf(value: unknown): string[] {
  if (value === null) return ["null"];
  if (Array.isArray(value)) return ["array"];
  if (typeof value === "number") return Number.isInteger(value) ? ["integer", "number"] : ["number"];
  if (typeof value === "string") return TIME.test(value) ? ["time"] : ["string"];
  return [typeof value];
}

class Checker {
  readonly #section: ReadonlyMap<string, Described>;
  readonly #name: string;
  constructor(...names: string[]) {
    this.#name = names.join(" and ");
    this.#section = new Map(
      names.flatMap((name) => {
        const section = page.get(name);
        assert.ok(section !== undefined, `docs/json.md has no section ${name}`);
        return [...section];
      }),
    );
  }

  check(value: unknown, path = ""): void {
    const described = this.#section.get(path);
    if (described !== undefined) {
      const types = typesOf(value);
      const fits = described.types.some((type) => type === "any" || types.includes(type));
      assert.ok(
        fits,
        `${this.#name}: ${path} is ${types[0]}, not ${described.types.join(" or ")}: ${JSON.stringify(value)}`,
      );
    }
    if (described?.types.includes("any") === true || value === null) return;
    if (Array.isArray(value)) for (const each of value) this.check(each, `${path}[]`);
    else if (typeof value === "object")
      this.#checkKeys(value as Record<string, unknown>, path === "" ? "" : `${path}.`);
    else assert.ok(described !== undefined, `${this.#name}: ${path} is not described`);
  }

  #checkKeys(value: Record<string, unknown>, prefix: string): void {
    for (const [key, each] of Object.entries(value)) {
      this.check(each, this.#section.has(`${prefix}*`) ? `${prefix}*` : `${prefix}${key}`);
    }
    for (const [key, { optional }] of this.#section) {
      const rest = key.startsWith(prefix) ? key.slice(prefix.length) : "";
      if (rest === "" || optional || /[.[*]/.test(rest)) continue;
      assert.ok(rest in value, `${this.#name}: ${key} is described and missing`);
    }
  }
}

function check(value: unknown, ...sections: string[]): void {
  const checker = new Checker(...sections);
  checker.check(value);
}

function lines(text: string): unknown[] {
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
}

const { daemon, cli } = await onDaemon();

test("what verbs print of containers, tasks and their past is as docs/json.md has it", async () => {
  for (const id of ["jsonweb", "done", "never"]) daemon.ctr.ids.add(id);
  const rootfs = ["--rootfs", daemon.rootfs];
  const label = [
    "--label",
    "a=b",
    "--label",
    "io.kubernetes.pod.name=p",
    "--label",
    "io.kubernetes.pod.namespace=n",
  ];
  check(
    lines(await cli.do(["create", "--json", "--name", "never", ...rootfs, "true"]))[0],
    "create, start, stop, restart, run -d",
  );
  const events = cli.spawn(["events", "--json"]);
  await eventually("the subscription", async () => {
    await cli.do(["ns", "create", "seen"]);
    await cli.do(["ns", "delete", "seen"]);
    return events.stdoutText !== "";
  });
  check(
    lines(
      await cli.do(["run", "--json", "-d", "--name", "jsonweb", ...label, ...rootfs, "--", "sleep", "1000"]),
    )[0],
    "create, start, stop, restart, run -d",
  );
  check(
    lines(await cli.do(["exec", "--json", "-d", "jsonweb", "sleep", "1000"]))[0],
    "exec -d, shim exec -d",
  );
  check(
    lines(await cli.do(["shim", "jsonweb", "exec", "--json", "-d", "sleep", "1000"]))[0],
    "exec -d, shim exec -d",
  );
  await cli.do(["run", "-d", "--name", "done", "--memory", "64m", ...rootfs, "--", "sh", "-c", "kill -9 $$"]);
  for (const line of lines(await cli.do(["wait", "--json", "done"]))) check(line, "wait");
  check(await cli.json(["ps", "-a"]), "ps");
  check(await cli.json(["inspect", "jsonweb", "done", "never"]), "ps", "inspect");
  check(await cli.json(["ns"]), "ns");
  check(await cli.json(["stats", "--interval", "50ms"]), "stats");
  check(await cli.json(["version"]), "version");
  for (const line of lines(await cli.do(["timeline", "--json", "done"]))) check(line, "timeline");
  check(
    lines(await cli.do(["stop", "--json", "-t", "0", "jsonweb"]))[0],
    "create, start, stop, restart, run -d",
  );
  await events.printed(/"exitStatus":137/);
  events.kill("SIGTERM");
  const printed = lines((await events.exited).stdout);
  assert.ok(printed.length > 5);
  for (const line of printed) check(line, "events");
  const errors = lines((await cli.run(["delete", "--json", "nosuch"])).stderr);
  assert.equal(errors.length, 1);
  check(errors[0], "errors");
  await cli.do(["delete", "-f", "jsonweb", "done", "never"]);
});

test("what verbs print of shims and the host is as docs/json.md has it", async () => {
  daemon.ctr.ids.add("jsonshim");
  await cli.do(["run", "-d", "--name", "jsonshim", "--rootfs", daemon.rootfs, "--", "sleep", "1000"]);
  check(await cli.json(["shims"]), "shims");
  check(JSON.parse(await cli.do(["shim", "jsonshim", "state", "--json"])), "shim state");
  check(JSON.parse(await cli.do(["shim", "jsonshim", "pids", "--json"])), "shim pids");
  check(JSON.parse(await cli.do(["shim", "jsonshim", "dump", "--json"])), "shim dump");
  check(JSON.parse(await cli.do(["shim", "jsonshim", "upgrade", "--json"])), "shim upgrade");
  await cli.do(["kill", "-s", "KILL", "jsonshim"]);
  check(JSON.parse(await cli.do(["shim", "jsonshim", "wait", "--json"])), "shim wait");
  check(JSON.parse(await cli.do(["shim", "jsonshim", "state", "--json"])), "shim state");
  check(JSON.parse((await cli.run(["doctor", "--json", "--timeout", "15s"])).stdout), "doctor");
  await cli.do(["delete", "jsonshim"]);
});

test("the checker itself finds what is missing, what is not described and what is of another type", () => {
  const good = [{ name: "n", labels: { any: "x" }, containers: 1, tasks: 0 }];
  check(good, "ns");
  const bad: readonly unknown[] = [
    [{ ...good[0], more: 1 }],
    [{ name: "n", labels: {}, tasks: 0 }],
    [{ ...good[0], tasks: "0" }],
    [{ ...good[0], labels: { any: 1 } }],
  ];
  for (const each of bad)
    assert.throws(() => check(each, "ns"), /^AssertionError.*ns: /s, JSON.stringify(each));
});

test("what images prints is as docs/json.md has it", async () => {
  await importImage(daemon);
  check(JSON.parse(await cli.do(["images", "--json"])), "images");
});
