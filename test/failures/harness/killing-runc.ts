// A runc that is killed, or whose shim is killed, as soon as its create has got as far as a given step. Used by create-steps.test.ts.
import { writeFileSync } from "node:fs";
import { join } from "node:path";

/** Who dies at the step: runc itself, or the process that started it. */
export type Victim = "runc" | "shim";

const script = (create: string): string => `#!/bin/sh
case " $* " in *" create "*) ;; *) exec /usr/sbin/runc "$@" ;; esac
${create}`;

// The watcher is a child of the shell that becomes runc, and looks as fast as it can.
const atFirstSight = (pid: string, paths: string): string => `(
  while kill -0 $$ 2>/dev/null; do
    for path in ${paths}; do
      [ -e "$path" ] && kill -9 ${pid} && exit
    done
  done
) </dev/null >/dev/null 2>&1 &
exec /usr/sbin/runc "$@"
`;

const afterAll = (pid: string): string => `/usr/sbin/runc "$@"
kill -9 ${pid}
`;

/**
 * Writes the program and returns its path. `paths` are shell patterns of the files whose first sight is the step; with none of them it is the
 * very end: all is done, and nobody has been told.
 */
export function killingRunc(directory: string, name: string, victim: Victim, paths: string): string {
  const program = join(directory, name);
  const pid = victim === "runc" ? "$$" : "$PPID";
  writeFileSync(program, script(paths === "" ? afterAll(pid) : atFirstSight(pid, paths)), { mode: 0o755 });
  return program;
}
