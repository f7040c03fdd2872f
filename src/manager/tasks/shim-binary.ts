// Running a shim's binary: `start` and `delete`, as containerd does (docs/shim-protocol.md).

import { Any } from "../../api/generated/google/protobuf/any.ts";
import { DeleteResponse } from "../../api/generated/task.ts";
import { parseShimAddress, type ShimAddress } from "../../shims/address.ts";
import { childEnvironment } from "../child-environment.ts";
import { ProgramError, runProgram } from "../program.ts";
import type { Bundle } from "./bundle.ts";
import { withUsualLimits } from "./child-limits.ts";

export interface ShimBinaryContext {
  /** Of our gRPC socket; the events' is beside it. */
  readonly address: string;
  readonly publishBinary: string;
  /** Whether our shims have a keeper. */
  readonly keeper: boolean;
  /** Whether our shims are to leave what is needed to take their containers over. */
  readonly adopt: boolean;
  readonly debug: boolean;
}

export class ShimBinary {
  readonly path: string;
  readonly #bundle: Bundle;
  readonly #context: ShimBinaryContext;

  constructor(path: string, bundle: Bundle, context: ShimBinaryContext) {
    this.path = path;
    this.#bundle = bundle;
    this.#context = context;
  }

  /** Starts the shim, or finds the one of its group; resolves to where it serves. Rejects with what the binary says, or if that makes no sense. */
  async start(options: Any | undefined, timeoutMs: number, signal: AbortSignal): Promise<ShimAddress> {
    const argv = [...this.#argv(), "start"];
    const input = options === undefined ? new Uint8Array(0) : Any.encode(options).finish();
    const { stdout, stderr } = await this.#run(argv, { input, timeoutMs, signal });
    // containerd reads both as one, so a shim that warns has always failed.
    const answer = `${stdout.toString()}${stderr.toString()}`.trim();
    if (answer === "") throw new Error(`${this.path} start printed no address`);
    return parseShimAddress(answer, `${this.path} start printed`);
  }

  /** Has another shim take over what a dead one has left; resolves, when it serves, to what could not be. Rejects with what the binary says. */
  async adopt(timeoutMs: number): Promise<string> {
    const argv = [...this.#argv(), "-adopt", "start"];
    const { stdout, stderr } = await this.#run(argv, { timeoutMs });
    parseShimAddress(stdout.toString().trim(), `${this.path} -adopt start printed`);
    return stderr.toString().trim();
  }

  /** Has the binary clean up after a dead shim; resolves to how the container ended. */
  async delete(timeoutMs: number): Promise<DeleteResponse> {
    const argv = [...this.#argv(), "-bundle", this.#bundle.path, "delete"];
    const output = await this.#run(argv, { timeoutMs });
    try {
      return DeleteResponse.decode(new Uint8Array(output.stdout));
    } catch (error) {
      throw new ProgramError(
        argv,
        `its answer is no DeleteResponse (${error instanceof Error ? error.message : error})`,
        output,
      );
    }
  }

  #argv(): string[] {
    const { address, publishBinary, debug } = this.#context;
    const { namespace, id } = this.#bundle;
    const flags = ["-namespace", namespace, "-address", address, "-publish-binary", publishBinary, "-id", id];
    return [this.path, ...flags, ...(debug ? ["-debug"] : [])];
  }

  #run(argv: readonly string[], options: { input?: Uint8Array; timeoutMs: number; signal?: AbortSignal }) {
    const { address, keeper, adopt } = this.#context;
    const env = childEnvironment({
      TTRPC_ADDRESS: `${address}.ttrpc`,
      GRPC_ADDRESS: address,
      NAMESPACE: this.#bundle.namespace,
      MAX_SHIM_VERSION: "2",
      ...(!keeper && { HOLDFAST_KEEPER: "off" }),
      ...(adopt && { HOLDFAST_ADOPT: "on" }),
    });
    return runProgram(withUsualLimits(argv), { ...options, cwd: this.#bundle.path, env });
  }
}
