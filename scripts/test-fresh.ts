// npm run test:fresh: the README's two commands in a clean, minimal Debian 12 and 13, on a clean clone of what is committed here. Takes an hour or so.
//   -- --only 12|13   one of them     -- --demo-only   the first command only     -- --keep   leave the systems for a look
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import { root } from "./cache.ts";
import { CleanSystem, type Release, SUITES } from "./clean-system.ts";

const { values } = parseArgs({
  options: { only: { type: "string" }, "demo-only": { type: "boolean" }, keep: { type: "boolean" } },
});
const known = Object.keys(SUITES) as Release[];
const releases = known.filter((release) => values.only === undefined || values.only === release);
if (releases.length === 0) {
  console.error(`test:fresh: --only takes ${known.join(" or ")}`);
  process.exit(2);
}
const commands = [["npm", "run", "demo"], ...(values["demo-only"] === true ? [] : [["npm", "test"]])];

let current: CleanSystem | undefined;
let stopped = false;
// What runs in it gets the signal too, or ends with its namespace; the directory is removed below.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => (stopped = true));

async function test(release: Release): Promise<string[]> {
  console.log(`\n==> Debian ${release}: debootstrap`);
  current = new CleanSystem(release);
  const results: string[] = [];
  try {
    for (const command of commands) {
      if (stopped) break;
      console.log(`\n==> Debian ${release}: ${command.join(" ")}`);
      const began = performance.now();
      const status = await current.run(command);
      const seconds = Math.round((performance.now() - began) / 1000);
      if (status !== 0) process.exitCode = 1;
      const outcome = status === 0 ? "passed" : `FAILED (exit status ${status})`;
      results.push(`Debian ${release}: ${command.join(" ")}: ${outcome}, ${seconds} s`);
      console.log(`==> ${results.at(-1)}`);
    }
  } finally {
    if (values.keep === true) console.log(`\nKept. To enter it:\n${shellLine(current.enter(["bash"]))}`);
    else current.remove();
  }
  return results;
}

function shellLine(argv: readonly string[]): string {
  return argv
    .map((word) => (/^[\w./:=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))
    .join(" ");
}

const changed = execFileSync("git", ["status", "--porcelain"], { cwd: root, encoding: "utf8" });
if (changed !== "") console.log(`What is not committed is not tested:\n${changed}`);
const all: string[] = [];
for (const release of releases) if (!stopped) all.push(...(await test(release)));
console.log(`\n${all.join("\n")}`);
if (stopped) process.exitCode = 130;
