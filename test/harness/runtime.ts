// Which shim is under test. Every e2e file reads it: HOLDFAST_TEST_RUNTIME names the runtime (Debian's Go shim is io.containerd.runc.v2),
// HOLDFAST_TEST_SHIM names another binary for our runtime, such as the sanitizer build.
import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const repository = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Debian's shim, the one that users have today. */
export const GO_RUNTIME = "io.containerd.runc.v2";
export const OUR_RUNTIME = "io.containerd.holdfast.v2";

export const runtimeName: string = process.env.HOLDFAST_TEST_RUNTIME ?? OUR_RUNTIME;

/** True while the tests run against Debian's shim, to show that they state what users expect. */
export const isGoShim: boolean = runtimeName === GO_RUNTIME;

/** The daemon under test: HOLDFAST_TEST_DAEMON=holdfastd puts ours in containerd's place. */
export const daemonKind: "containerd" | "holdfastd" =
  process.env.HOLDFAST_TEST_DAEMON === "holdfastd" ? "holdfastd" : "containerd";
export const isHoldfastd: boolean = daemonKind === "holdfastd";

/** The program of our daemon, as built. */
export const HOLDFASTD: string = join(repository, "dist/holdfastd");

/** True for the build with AddressSanitizer and forced garbage collection: slower, and much larger. */
export const isSanitizerBuild: boolean = process.env.HOLDFAST_TEST_SANITIZER === "1";

/** Path of the shim's binary. Throws when it is not there. */
export function shimBinary(runtime: string = runtimeName): string {
  const name = `containerd-shim-${runtime.split(".").slice(-2).join("-")}`;
  const candidates =
    runtime === OUR_RUNTIME
      ? [resolve(process.env.HOLDFAST_TEST_SHIM ?? join(repository, "dist", name))]
      : (process.env.PATH ?? "").split(":").map((directory) => join(directory, name));
  const found = candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error(`no ${name} in ${candidates.join(", ")}: run "npm run build"`);
  return found;
}

/** Major and minor version of the installed containerd, such as 1.6; NaN if there is none. */
export const containerdVersion: number = Number(
  spawnSync("containerd", ["--version"], { encoding: "utf8" }).stdout?.match(/ v?(\d+\.\d+)/)?.[1],
);

/** The installed runc's version, taken apart; undefined if there is none. */
const runcVersion = spawnSync("runc", ["--version"], { encoding: "utf8" }).stdout?.match(/ (\d+)\.(\d+)/);

/** For the `skip` of a test of a signal to all processes of a container. */
export const signalsInitOnly: string | false =
  Number(runcVersion?.[1]) > 1 || Number(runcVersion?.[2]) >= 2
    ? "runc since 1.2 ignores kill --all: the signal goes to the first process alone"
    : false;

/** For the `skip` of a test of an ended task that the daemon finds at its restart. */
export const forgetsEndedTasks: string | false =
  isGoShim && containerdVersion >= 1.7
    ? "containerd since 1.7 deletes an ended task of the Go shim when it restarts: it tells no pids"
    : false;

/** For the `skip` of a test that every byte of output arrives. */
export const losesLastOutput: string | false =
  isGoShim && containerdVersion >= 1.7
    ? "clients of containerd 1.7 and newer close their end of an exec's output when Delete answers, and the Go shim's does before all was read"
    : false;

/** For the `skip` of a test that states something the Go shim is known to get wrong: the reason there, false with our shim. */
export function failsOnGoShim(reason: string): string | false {
  return isGoShim ? `the Go shim fails this: ${reason}` : false;
}
