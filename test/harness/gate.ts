// A runc that can be held up, made to fail, or slowed down at any of its commands, to catch the shim and the daemon in the middle of something.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "./eventually.ts";

const SCRIPT = (directory: string, runc: string): string => `#!/bin/sh
for word; do
  case $word in create|start|exec|delete|pause|resume|kill|state|update|ps) verb=$word; break;; esac
done
echo "$verb" >>${directory}/calls
if [ -e ${directory}/hold-$verb ]; then
  echo $$ >${directory}/waits-$verb
  while [ -e ${directory}/hold-$verb ]; do sleep 0.02; done
fi
if [ -e ${directory}/fail-$verb ]; then
  cat ${directory}/fail-$verb >&2
  exit 1
fi
if [ -e ${directory}/linger-$verb ]; then
  ${runc} "$@"
  status=$?
  echo $$ >${directory}/waits-$verb
  while [ -e ${directory}/linger-$verb ]; do sleep 0.02; done
  exit $status
fi
exec ${runc} "$@"
`;

export class RuncGate {
  /** Where its runc is: put before the daemon's PATH, or name `program` in the options. */
  readonly directory: string;
  readonly program: string;

  constructor(parent: string, runc = "/usr/sbin/runc") {
    this.directory = join(parent, "gate");
    mkdirSync(this.directory, { recursive: true });
    this.program = join(this.directory, "runc");
    writeFileSync(this.program, SCRIPT(this.directory, runc), { mode: 0o755 });
  }

  /** From now on that command waits before it begins. */
  hold(verb: string): void {
    this.#stop("hold", verb);
  }

  /** From now on that command does its work, and waits before it ends. */
  linger(verb: string): void {
    this.#stop("linger", verb);
  }

  #stop(how: string, verb: string): void {
    rmSync(join(this.directory, `waits-${verb}`), { force: true });
    writeFileSync(join(this.directory, `${how}-${verb}`), "");
  }

  /** Resolves with the pid of a runc that waits at that command. */
  async held(verb: string): Promise<number> {
    const path = join(this.directory, `waits-${verb}`);
    return eventually(`runc ${verb} to be held`, () => {
      const pid = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
      return pid !== "" && Number(pid);
    });
  }

  release(verb: string): void {
    for (const how of ["hold", "linger"]) rmSync(join(this.directory, `${how}-${verb}`), { force: true });
  }

  /** From now on that command prints the words on stderr and fails; undefined lets it work again. */
  fail(verb: string, words: string | undefined): void {
    const path = join(this.directory, `fail-${verb}`);
    if (words === undefined) rmSync(path, { force: true });
    else writeFileSync(path, `${words}\n`);
  }

  releaseAll(): void {
    for (const name of readdirSync(this.directory)) {
      if (/^(hold|linger|fail)-/.test(name)) rmSync(join(this.directory, name));
    }
  }
}
