// npm run check: types, lint, format, imports by floor, and whether the generated files are up to date. Part of npm test; ends with 1 if anything is wrong.
import { spawnSync } from "node:child_process";

const checks: readonly (readonly [what: string, ...command: string[]])[] = [
  ["types", "npx", "tsc", "-p", "tsconfig.json"],
  ["types without Node", "npx", "tsc", "-p", "tsconfig.portable.json"],
  ["lint and format", "npx", "biome", "check", "--error-on-warnings"],
  ["imports by floor", "node", "--import", "tsx", "scripts/floors.ts"],
  ["hardened programs", "node", "--import", "tsx", "scripts/hardening.ts"],
  ["mutants apply", "node", "--import", "tsx", "scripts/mutants/main.ts", "--check"],
  ["generated files", "node", "--import", "tsx", "scripts/generate.ts", "--check"],
];

let failed = 0;
for (const [what, program = "", ...args] of checks) {
  const { status } = spawnSync(program, args, { stdio: "inherit" });
  console.log(`${status === 0 ? "ok    " : "FAILED"}  ${what}`);
  if (status !== 0) failed++;
}
process.exit(failed === 0 ? 0 : 1);
