// A step of npm test: build, demo and "holdfast doctor" in a copy of the tree, with a PATH of nothing but what scripts/setup.sh installs for the demo, what
// Debian calls essential, and Node.js: so that a machine that has more does not hide what the list lacks.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  cpSync,
  mkdirSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { cache, root } from "./cache.ts";

const PROGRAM_DIRECTORIES = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
/** Of the tree: what a fresh clone does not have. */
const NOT_CLONED = ["node_modules", "build", "dist", ".git"];

const output = (program: string, args: readonly string[]): string =>
  execFileSync(program, args, { cwd: root, encoding: "utf8" });

function essentialPackages(): string[] {
  const format = ["Essential", "Package"].map((field) => `\${${field}}`).join(" ");
  const lines = output("dpkg-query", ["-W", "-f", `${format}\n`]).split("\n");
  return lines.flatMap((line) => (line.startsWith("yes ") ? [line.slice(4)] : []));
}

function isProgram(path: string): boolean {
  if (!PROGRAM_DIRECTORIES.includes(dirname(path))) return false;
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Fills `directory` with a link for each program that may be called. */
function fillPath(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const listed = output("sh", ["scripts/setup.sh", "demo", "--list"]).trim().split("\n");
  const files = output("dpkg", ["-L", ...listed, ...essentialPackages()]).split("\n");
  const programs = new Map(files.filter(isProgram).map((path) => [basename(path), path]));
  programs.set("node", process.execPath);
  for (const name of ["npm", "npx"]) programs.set(name, realpathSync(output("which", [name]).trim()));
  for (const [name, path] of programs) symlinkSync(path, join(directory, name));
}

/** A copy as a clone would be, but with the npm packages that are here. Hard links: on the same file system as the tree. */
function copyTree(directory: string): void {
  const isCloned = (path: string): boolean => !NOT_CLONED.includes(relative(root, path));
  // Not cpSync of the root: it refuses to copy a directory into itself.
  for (const name of output("ls", ["-A", root]).trim().split("\n")) {
    if (!isCloned(join(root, name))) continue;
    cpSync(join(root, name), join(directory, name), { recursive: true, preserveTimestamps: true });
  }
  execFileSync("cp", ["-al", join(root, "node_modules"), join(directory, "node_modules")]);
}

const place = join(cache, `bare-${process.pid}`);
const tree = join(place, "tree");
const path = join(place, "path");

/** Those of the shells and npm's own aside, a program finds nothing else. */
function bareEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => !/^(HOLDFAST_|npm_lifecycle|INIT_CWD)/.test(name),
  );
  const { HOLDFAST_QUICKJS_SRC: source } = process.env;
  return { ...Object.fromEntries(kept), ...(source && { HOLDFAST_QUICKJS_SRC: source }), PATH: path };
}

function run(argv: readonly string[]): void {
  const [program = "", ...args] = argv;
  const { status, error } = spawnSync(join(path, program), args, {
    cwd: tree,
    env: bareEnvironment(),
    stdio: "inherit",
  });
  if (status !== 0)
    throw new Error(`${argv.join(" ")} failed${error === undefined ? "" : `: ${error.message}`}`);
  console.log(`ok      ${argv.join(" ")}`);
}

/** What it says of each thing that it looks at: "good", "hint" or "bad". Figures and other people's shims differ from run to run. */
function doctor(env: NodeJS.ProcessEnv): Record<string, string> {
  const { stdout } = spawnSync(join(tree, "dist/holdfast"), ["doctor", "--json"], { env, encoding: "utf8" });
  const found = JSON.parse(stdout || "[]") as { check: string; level: string }[];
  const ofHost = found.filter(({ check }) => /runtime|kernel|control groups|privileges|our shim/.test(check));
  return Object.fromEntries(ofHost.map(({ check, level }) => [check, level]));
}

try {
  fillPath(path);
  copyTree(tree);
  run(["npm", "run", "build"]);
  run(["npm", "run", "demo"]);
  const bare = doctor(bareEnvironment());
  assert.equal(bare["OCI runtime"], "good");
  assert.deepEqual(bare, doctor({ ...bareEnvironment(), PATH: process.env.PATH }));
  console.log("ok      holdfast doctor");
} finally {
  rmSync(place, { recursive: true, force: true });
}
