// Takes the lock of a directory when told to, tells whether it could, and holds it until its end. A child of lock.test.ts.
import { acquireLock } from "../../src/manager/lock.ts";

const [directory = "", address = ""] = process.argv.slice(2);
process.once("message", () => {
  acquireLock(directory, address).then(
    () => process.send?.("held"),
    (error: unknown) => process.send?.(String(error)),
  );
});
process.once("disconnect", () => process.exit());
process.send?.("ready");
