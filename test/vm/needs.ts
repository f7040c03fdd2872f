// For the `skip` of tests that need what a machine may lack. Used by the tests in this folder.
import { existsSync, readFileSync } from "node:fs";

export const notUnified: string | false = existsSync("/sys/fs/cgroup/cgroup.controllers")
  ? false
  : "this machine has control groups of version 1; npm run test:vm has those of version 2";

export const noSystemdHost: string | false =
  notUnified !== false
    ? notUnified
    : readFileSync("/proc/1/comm", "utf8").trim() === "systemd"
      ? false
      : "systemd is not this machine's first process";

/** Set by scripts/vm/run.sh: nobody else may find the clock changed. */
export const notOwnClock: string | false =
  process.env.HOLDFAST_TEST_OWN_MACHINE === "1"
    ? false
    : "the clock is not the tests' to set: npm run test:vm has a machine of their own";
