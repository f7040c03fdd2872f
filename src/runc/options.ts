// The runtime options of a Create request: containerd's own message, or the CRI plugin's generic one, whose body is TOML with the same names in CamelCase
// (docs/shim-protocol.md).
import { holds, RUNC_OPTIONS, RUNTIME_OPTIONS } from "../api/any.ts";
import type { Any } from "../api/generated/google/protobuf/any.ts";
import { Options } from "../api/generated/runc_options.ts";
import { Options as GenericOptions } from "../api/generated/runtime_options.ts";
import { withoutV1 } from "../api/v1-options.ts";
import type { Platform } from "../platform/platform.ts";

export interface RuntimeOptions {
  /** The runtime's program: a name on PATH, or a path. */
  readonly binary: string;
  /** Where the runtime keeps its state, one directory a namespace. */
  readonly root: string;
  readonly systemdCgroup: boolean;
  readonly noPivotRoot: boolean;
  readonly noNewKeyring: boolean;
  readonly ioUid: number;
  readonly ioGid: number;
  /** The cgroup that the shim itself joins; empty for its daemon's. */
  readonly shimCgroup: string;
  /** Whether the shim has a keeper. */
  readonly keeper: boolean;
  /** The checkpoint to restore from; empty for a fresh container. A daemon hands it on as such only to the runtimes whose names it knows. */
  readonly criuImagePath: string;
  /** Where criu works and logs when the container is restored; empty for a place in the bundle. */
  readonly criuWorkPath: string;
}

export const defaultOptions: RuntimeOptions = {
  binary: "runc",
  root: "/run/containerd/runc",
  systemdCgroup: false,
  noPivotRoot: false,
  noNewKeyring: false,
  ioUid: 0,
  ioGid: 0,
  shimCgroup: "",
  keeper: true,
  criuImagePath: "",
  criuWorkPath: "",
};

/** What a Create request's options say, defaults filled in. Throws if the type is not known or the body is malformed. */
export function readOptions(platform: Platform, given: Any | undefined): RuntimeOptions {
  if (given === undefined || given.typeUrl === "") return defaultOptions;
  const any = withoutV1(given);
  if (holds(any, RUNC_OPTIONS)) {
    const { binaryName, root, ...rest } = Options.decode(any.value);
    return { ...pick(rest), binary: binaryName || defaultOptions.binary, root: root || defaultOptions.root };
  }
  if (holds(any, RUNTIME_OPTIONS)) {
    const generic = GenericOptions.decode(any.value);
    if (generic.configBody.length > 0)
      return fromToml(platform.text.decode(generic.configBody), "config_body");
    if (generic.configPath !== "")
      return fromToml(platform.files.read(generic.configPath), generic.configPath);
    return defaultOptions;
  }
  throw new Error(`runtime options of unknown type ${any.typeUrl}`);
}

function pick(options: Omit<Options, "binaryName" | "root">): RuntimeOptions {
  const { systemdCgroup, noPivotRoot, noNewKeyring, ioUid, ioGid, shimCgroup } = options;
  const { criuImagePath, criuWorkPath } = options;
  const runtime = { systemdCgroup, noPivotRoot, noNewKeyring, ioUid, ioGid, shimCgroup };
  return { ...defaultOptions, ...runtime, criuImagePath, criuWorkPath };
}

function fromToml(text: string, source: string): RuntimeOptions {
  const values = parseFlatToml(text, source);
  const value = <T extends string | number | boolean>(name: string, otherwise: T): T => {
    const found = values.get(name);
    if (found === undefined || found === "") return otherwise;
    if (typeof found !== typeof otherwise) throw new Error(`${source}: ${name} is not a ${typeof otherwise}`);
    return found as T;
  };
  return {
    binary: value("BinaryName", defaultOptions.binary),
    root: value("Root", defaultOptions.root),
    systemdCgroup: value("SystemdCgroup", false),
    noPivotRoot: value("NoPivotRoot", false),
    noNewKeyring: value("NoNewKeyring", false),
    ioUid: value("IoUid", 0),
    ioGid: value("IoGid", 0),
    shimCgroup: value("ShimCgroup", ""),
    keeper: value("Keeper", true),
    criuImagePath: value("CriuImagePath", ""),
    criuWorkPath: value("CriuWorkPath", ""),
  };
}

/**
 * Reads the part of TOML that a flat table of options is written in: `Key = "text" | 'text' | true | false | integer`, comments.
 * Tables and values of other kinds are passed over, as no option of ours is in one.
 */
export function parseFlatToml(text: string, source: string): Map<string, string | number | boolean> {
  const values = new Map<string, string | number | boolean>();
  let inTable = false;
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line.startsWith("[")) inTable = true;
    if (inTable || line === "" || line.startsWith("#")) continue;
    const equals = line.indexOf("=");
    if (equals < 0) throw new Error(`${source}: line ${index + 1}: expected KEY = VALUE: ${line}`);
    const value = parseValue(line.slice(equals + 1).trim(), `${source}: line ${index + 1}`);
    if (value !== undefined) values.set(unquote(line.slice(0, equals).trim()), value);
  }
  return values;
}

function parseValue(text: string, place: string): string | number | boolean | undefined {
  const quote = text[0];
  if (quote === '"' || quote === "'") {
    const end = text.indexOf(quote, 1);
    if (end < 0) return undefined;
    return quote === "'" ? text.slice(1, end) : parseBasicString(text, place);
  }
  const bare = text.split("#", 1)[0]?.trim() ?? "";
  if (bare === "true") return true;
  if (bare === "false") return false;
  // 1_000: between digits, not at an end.
  const digits = bare.split("_");
  const number = digits.includes("") ? Number.NaN : Number(digits.join(""));
  return Number.isInteger(number) ? number : undefined;
}

/** A TOML basic string has JSON's escapes, but for \U, which no option needs. */
function parseBasicString(text: string, place: string): string | undefined {
  let end = 1;
  while (end < text.length && text[end] !== '"') end += text[end] === "\\" ? 2 : 1;
  if (end >= text.length) return undefined;
  try {
    return JSON.parse(text.slice(0, end + 1)) as string;
  } catch {
    throw new Error(`${place}: a malformed string: ${text}`);
  }
}

function unquote(key: string): string {
  const quoted = (key.startsWith('"') && key.endsWith('"')) || (key.startsWith("'") && key.endsWith("'"));
  return quoted ? key.slice(1, -1) : key;
}
