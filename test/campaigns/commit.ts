// Of which commit a campaign's report is.
import { spawnSync } from "node:child_process";

/** The commit that is checked out, with a "+" behind it if files have been changed since; "unknown" where there is no repository. */
export function checkedOut(): string {
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync("git", args, { cwd: import.meta.dirname, encoding: "utf8" });
    return status === 0 ? stdout.trim() : undefined;
  };
  const commit = git("rev-parse", "--short=7", "HEAD");
  if (commit === undefined) return "unknown";
  return git("status", "--porcelain", "--untracked-files=no") === "" ? commit : `${commit}+`;
}
