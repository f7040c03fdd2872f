// A runtime that checkpoints without criu: it notes how it was called, and does to the container what runc does. A checkpoint writes one file; a
// restore makes the container anew. For hosts that have no criu; the same tests run with the real one where it is.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const SCRIPT = (base: string): string => `#!/bin/sh
root=; bundle=; image=; work=; pidfile=; console=; log=; exits=true; verb=; id=
previous=
for word; do
  case $previous in
    --root) root=$word;; --bundle) bundle=$word;; --image-path) image=$word;; --work-path) work=$word;;
    --pid-file) pidfile=$word;; --console-socket) console=$word;; --log) log=$word;;
  esac
  case $word in
    --leave-running) exits=false;;
    checkpoint|restore) [ -n "$verb" ] || verb=$word;;
  esac
  previous=$word
  id=$word
done
[ -n "$verb" ] || exec runc "$@"
printf '%s\\n' "$@" | sed "1,/^$verb\\$/d" >${base}.$verb
mkdir -p "$work"
if [ -e ${base}.fail ]; then
  case $verb in checkpoint) name=dump;; restore) name=restore;; esac
  [ -e ${base}.logless ] || echo "criu said why" >"$work/$name.log"
  printf '{"level":"error","msg":"%s"}\\n' "$(cat ${base}.fail)" >"$log"
  exit 1
fi
if [ $verb = checkpoint ]; then
  mkdir -p "$image"
  echo state >"$image/pages-1.img"
  echo fine >"$work/dump.log"
  $exits || exit 0
  runc --root "$root" kill "$id" KILL
  while [ "$(runc --root "$root" state "$id" | sed -n 's/.*"status": "\\(.*\\)".*/\\1/p')" = running ]; do sleep 0.02; done
  exec runc --root "$root" delete "$id"
fi
[ -e "$image/pages-1.img" ] || { printf '{"level":"error","msg":"no image in %s"}\\n' "$image" >"$log"; exit 1; }
runc --root "$root" create --bundle "$bundle" --pid-file "$pidfile" \${console:+--console-socket "$console"} "$id" || exit 1
exec runc --root "$root" start "$id"
`;

export class CriuRuntime {
  readonly program: string;

  constructor(directory: string) {
    this.program = join(directory, "runc-criu");
    writeFileSync(this.program, SCRIPT(this.program), { mode: 0o755 });
  }

  /** From now on it fails with these words in its log, and with a log of criu's unless told otherwise; undefined: it works again. */
  fail(words: string | undefined, withLog = true): void {
    for (const name of ["fail", "logless"]) rmSync(`${this.program}.${name}`, { force: true });
    if (words !== undefined) writeFileSync(`${this.program}.fail`, words);
    if (!withLog) writeFileSync(`${this.program}.logless`, "");
  }

  /** What followed the verb on its last command line. */
  calledWith(verb: "checkpoint" | "restore"): string[] {
    return readFileSync(`${this.program}.${verb}`, "utf8").trimEnd().split("\n");
  }
}

/** Whether this host can checkpoint. */
export const criuPath: string | undefined = (process.env.PATH ?? "")
  .split(":")
  .map((directory) => join(directory, "criu"))
  .find((path) => existsSync(path));
