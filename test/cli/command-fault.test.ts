// What runtimes say when a command cannot be run: their words differ from version to version.
import assert from "node:assert/strict";
import { test } from "node:test";
import { commandFault } from "../../src/cli/text/command-fault.ts";

const RUNC = "OCI runtime create failed: runc create failed: unable to start container process: ";
const INIT = `${RUNC}error during container init: `;
const EXEC = "OCI runtime exec failed: exec failed: unable to start container process: ";

const CASES: readonly [said: string, fault: string | undefined][] = [
  // runc 1.1.5, with Go before 1.20
  [`${RUNC}exec: "nosuch": executable file not found in $PATH`, "missing"],
  [`${RUNC}exec: "/nosuch": stat /nosuch: no such file or directory`, "missing"],
  [`${RUNC}exec: "/etc": permission denied`, "unusable"],
  [`${EXEC}exec: "/loop": stat /loop: too many levels of symbolic links`, "unusable"],
  [`${EXEC}exec: "/plain/x": stat /plain/x: not a directory`, "unusable"],
  // runc 1.1.15, with Go 1.24
  [`${RUNC}exec: "/etc": is a directory`, "unusable"],
  [`${EXEC}exec: "./etc": is a directory`, "unusable"],
  [`${EXEC}exec /garbage: exec format error`, "unusable"],
  [`${EXEC}exec /bad: no such file or directory`, "missing"],
  // runc 1.2
  [`${INIT}exec: "nosuch": executable file not found in $PATH`, "missing"],
  [`${INIT}exec: "/x": operation not permitted`, "unusable"],
  // A name that looks like a reason.
  [`${INIT}exec: "/no such file": permission denied`, "unusable"],
  [`${INIT}exec: "a \\"quoted\\": no such file": permission denied`, "unusable"],
  // crun
  [
    "OCI runtime create failed: executable file `nosuch` not found in $PATH: No such file or directory",
    "missing",
  ],
  ["OCI runtime create failed: open executable: Permission denied", "unusable"],
  // youki
  ["OCI runtime create failed: executable 'nosuch' for container process not found in PATH", "missing"],
  // Not the command's fault.
  [`${INIT}error mounting "/none" to rootfs at "/x": stat /none: no such file or directory`, undefined],
  [`${EXEC}chdir to cwd ("/nosuch") set in config.json failed: no such file or directory`, undefined],
  [`${EXEC}open /proc/self/fd: permission denied`, undefined],
  ["container web not found", undefined],
];

for (const [said, fault] of CASES) {
  test(`${fault ?? "something else"}: ${said}`, () => assert.equal(commandFault(said), fault));
}
