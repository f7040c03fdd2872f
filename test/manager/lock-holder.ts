// Takes the lock of a directory when told to, tells whether it could, and holds it until its end. A child of lock.test.ts.
import { spawn } from "node:child_process";
import { acquireLock } from "../../src/manager/lock.ts";

const [directory = "", address = ""] = process.argv.slice(2);
process.on("message", (order) => {
  if (order === "take") {
    acquireLock(directory, address).then(
      () => process.send?.("held"),
      (error: unknown) => process.send?.(String(error)),
    );
  } else {
    // Outlives us, as a shim does.
    process.send?.(spawn("sleep", ["600"], { stdio: "ignore", detached: true }).pid);
  }
});
process.once("disconnect", () => process.exit());
process.send?.("ready");
