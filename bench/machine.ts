// What the bench ran on: machine and versions, as a line for the report. Used by main.ts.
import { readFileSync, statSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { check } from "../test/harness/command.ts";
import { shimBinary } from "../test/harness/runtime.ts";

/** One sentence that names the machine and all versions that matter. */
export async function machine(): Promise<string> {
  const [processor] = cpus();
  const distribution =
    readFileSync("/etc/os-release", "utf8").match(/^PRETTY_NAME="(.*)"$/m)?.[1] ?? "unknown";
  const version = async (program: string): Promise<string> =>
    (await check([program, "--version"])).split("\n")[0]?.trim() ?? "";
  const shim = (statSync(shimBinary()).size / 1e6).toFixed(2);
  return [
    `${new Date().toISOString().slice(0, 10)}: ${cpus().length} × ${processor?.model.trim() ?? "unknown"}`,
    `${Math.round(totalmem() / 2 ** 30)} GiB, load ${loadavg()[1]?.toFixed(1)}, ${distribution}, Linux ${release()}`,
    `${await version("containerd")}, ${await version("runc")}. Our binary: ${shim} MB.`,
  ].join(", ");
}
