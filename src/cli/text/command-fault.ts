// Whether a runtime blames the command itself for a failed start, and for what.

/**
 * How runtimes say that, whatever the reason that follows. runc: `exec: "NAME": REASON`, `exec: "/NAME": stat /NAME: REASON`, `exec /NAME: REASON`.
 * crun: "executable file `NAME` not found in $PATH: REASON", "open executable: REASON", "exec `NAME`: REASON".
 * youki: "executable 'NAME' for container process not found in PATH".
 */
const FRAMES: readonly RegExp[] = [
  /\bexec:? "(?:[^"\\]|\\.)*": (.*)/s,
  /\bexec:? \/[^:]*: (.*)/s,
  /\bexec:? `[^`]*`: (.*)/s,
  /\bexecutable (?:file )?(?:`[^`]*`|'[^']*'|"[^"]*") (.*)/s,
  /\bopen executable(?: `[^`]*`)?: (.*)/s,
];

/** "missing": there is no such command. "unusable": there is, and it cannot be run. undefined: something else is at fault, or nobody says. */
export function commandFault(text: string): "missing" | "unusable" | undefined {
  for (const frame of FRAMES) {
    const reason = frame.exec(text)?.[1];
    if (reason !== undefined) return /not found|no such file/i.test(reason) ? "missing" : "unusable";
  }
  return undefined;
}
