// The runtime options that go to a shim: the client's, with our own root for the runtime's state where it names none.
import { basename } from "node:path";
import { parse } from "smol-toml";
import { holds, RUNC_OPTIONS, RUNTIME_OPTIONS, unpack } from "../../api/any.ts";
import type { Any } from "../../api/generated/google/protobuf/any.ts";
import { Options } from "../../api/generated/runc_options.ts";
import { Options as GenericOptions } from "../../api/generated/runtime_options.ts";
import { withoutV1 } from "../../api/v1-options.ts";

/** Shims that take runc's options; others have options of their own. */
const RUNC_SHIM = /^containerd-shim-(?:holdfast|runc)-v\d+$/;

export interface RootedOptions {
  readonly options: Any | undefined;
  /** Where the runtime will keep its state; undefined if only the shim knows. */
  readonly root: string | undefined;
}

/** `shim` is the path of its binary. Options that cannot be read go on as they are: the shim says better what is wrong with them. */
export function withRuntimeRoot(given: Any | undefined, shim: string, root: string): RootedOptions {
  const isForRunc = RUNC_SHIM.test(basename(shim));
  let options = given;
  try {
    if (given !== undefined && isForRunc) options = withoutV1(given);
    if (options === undefined || options.typeUrl === "") {
      if (!isForRunc) return { options, root: undefined };
      return { options: { typeUrl: RUNC_OPTIONS, value: encodeRoot(root) }, root };
    }
    if (holds(options, RUNC_OPTIONS)) return withRuncRoot(options, root);
    if (holds(options, RUNTIME_OPTIONS) && isForRunc) return withTomlRoot(options, root);
  } catch {
    // The shim refuses it.
  }
  return { options, root: undefined };
}

function encodeRoot(root: string): Uint8Array {
  return Options.encode({ ...Options.decode(new Uint8Array(0)), root }).finish();
}

/** Protobuf messages one behind the other are merged, so fields that we do not know stay. */
function withRuncRoot(options: Any, root: string): RootedOptions {
  const known = Options.decode(options.value).root;
  if (known !== "") return { options, root: known };
  const value = new Uint8Array(Buffer.concat([options.value, encodeRoot(root)]));
  return { options: { ...options, value }, root };
}

/** The CRI plugin's: TOML. A file that it names is read by the shim alone. */
function withTomlRoot(options: Any, root: string): RootedOptions {
  const generic = GenericOptions.decode(options.value);
  if (generic.configBody.length === 0 && generic.configPath !== "") return { options, root: undefined };
  const text = Buffer.from(generic.configBody).toString();
  const known = parse(text).Root;
  if (typeof known === "string" && known !== "") return { options, root: known };
  if (known !== undefined) return { options, root: undefined };
  // In front, where no table has begun.
  const configBody = new Uint8Array(Buffer.from(`Root = ${JSON.stringify(root)}\n${text}`));
  return { options: { ...options, value: GenericOptions.encode({ ...generic, configBody }).finish() }, root };
}

/** The directory of the checkpoint that the options ask to restore from; empty for a fresh container. */
export function restorePath(options: Any | undefined): string {
  return (options && unpack(withoutV1(options), RUNC_OPTIONS, Options))?.criuImagePath ?? "";
}
