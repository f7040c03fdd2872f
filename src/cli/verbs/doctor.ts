// `holdfast doctor`: checks the host and says what to do. Exit status 1 if something is wrong.
import type { Command } from "commander";
import { hostFindings } from "../doctor/host-checks.ts";
import { leftoverFindings } from "../doctor/leftover-checks.ts";
import { findShims } from "../shims/processes.ts";
import { FAILED } from "../text/problem.ts";
import { commonFlags, examples, settingsOf } from "./options.ts";

export function addDoctor(program: Command): void {
  const command = program
    .command("doctor")
    .description("check this host and say what to do; exit status 1 if something is wrong");
  commonFlags(command);
  examples(
    command,
    ["holdfast doctor", "after an upgrade, or when containers do not start"],
    ["holdfast doctor --json | jq -r '.[]|select(.level==\"bad\")'", "what is wrong, for a program"],
  );
  command.action(async () => {
    const { screen, address, timeoutMs } = settingsOf(command);
    const findings = [
      ...(await hostFindings(address, timeoutMs)),
      ...(await leftoverFindings(findShims(), address, timeoutMs)),
    ];
    const bad = findings.filter(({ level }) => level === "bad");
    if (screen.json) screen.document(findings);
    else {
      const { colors } = screen;
      const marks = { good: colors.green("ok  "), hint: colors.yellow("note"), bad: colors.red("BAD ") };
      for (const { check, level, found, advice } of findings) {
        screen.line(`${marks[level]}  ${colors.bold(check)}: ${found}`);
        if (advice !== undefined) screen.line(`      → ${advice}`);
      }
      screen.line();
      screen.line(
        bad.length === 0 ? colors.green("Nothing is wrong.") : colors.red(`${bad.length} to mend.`),
      );
    }
    if (bad.length > 0) process.exitCode = FAILED;
  });
}
