// Runtime names → shim binaries, by containerd's rules: io.containerd.holdfast.v2 is containerd-shim-holdfast-v2 on the PATH.

import { accessSync, constants, realpathSync, statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { OUR_RUNTIME, RUNC_RUNTIME } from "../../api/runtime-names.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";

const MAX_ALIASES = 8;

export class Runtimes {
  readonly #aliases: Readonly<Record<string, string>>;
  /** Beside the daemon's own program. */
  readonly #ownDirectory: string;

  constructor(aliases: Readonly<Record<string, string>>, program: string = process.argv[1] ?? "/") {
    this.#aliases = aliases;
    this.#ownDirectory = dirname(realpathSync(program));
  }

  /** Path of the shim binary for a runtime name, or a path. Throws INVALID_ARGUMENT for a bad name and NOT_FOUND for one that is not installed. */
  resolve(runtime: string): string {
    const name = this.#follow(runtime);
    if (isAbsolute(name)) {
      if (isProgram(name)) return name;
      throw new TtrpcError(
        Code.NOT_FOUND,
        `runtime ${JSON.stringify(runtime)}: ${name} is not an executable file`,
      );
    }
    const binary = binaryName(name);
    const found = this.#find(binary);
    if (found !== undefined) return found;
    if (name === RUNC_RUNTIME) return this.resolve(OUR_RUNTIME);
    const text = `runtime ${JSON.stringify(runtime)}: ${binary} is neither on the PATH nor beside holdfastd`;
    throw new TtrpcError(Code.NOT_FOUND, text);
  }

  #follow(runtime: string): string {
    let name = runtime;
    for (let step = 0; step < MAX_ALIASES; step++) {
      const next = this.#aliases[name];
      if (next === undefined || next === name) return name;
      name = next;
    }
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      `runtime ${JSON.stringify(runtime)}: its aliases go in a circle`,
    );
  }

  #find(binary: string): string | undefined {
    const directories = (process.env.PATH ?? "").split(":").filter(isAbsolute);
    return [...directories, this.#ownDirectory].map((directory) => join(directory, binary)).find(isProgram);
  }
}

function binaryName(runtime: string): string {
  const parts = runtime.split(".");
  const [name, version] = parts.slice(-2);
  if (parts.length < 2 || !name || !version || runtime.includes("/")) {
    const text = `invalid runtime name ${JSON.stringify(runtime)}: give one such as ${OUR_RUNTIME}, or the path of a shim`;
    throw new TtrpcError(Code.INVALID_ARGUMENT, text);
  }
  return `containerd-shim-${name}-${version}`;
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
