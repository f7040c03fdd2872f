// gVisor's runsc in runc's place.
import { spawnSync } from "node:child_process";
import { testRuntime } from "./behind-runtime.ts";

const glibc = Number(
  spawnSync("getconf", ["GNU_LIBC_VERSION"], { encoding: "utf8" }).stdout?.match(/ 2\.(\d+)/)?.[1],
);

const lacks = {
  // With Debian 13's busybox in its place, the same test passes on the same system.
  ...(glibc >= 42 && {
    "a terminal":
      "Debian's runsc (2024) has no TCGETS2, by which glibc since 2.42, and this system's busybox with it, finds out what a terminal is; Go's shim shows the same",
  }),
  "ps lists the processes": "runsc tells the pids inside its sandbox: no exec is found by its own",
  "nothing is left behind": "runsc leaves its gofer process behind when a container is deleted by force",
};

// Its sandbox would take over the interfaces of a network namespace that the caller has set up; ctr sets none up.
await testRuntime("runsc", lacks, { words: ["--network=none"] });
