// node:os as far as the command line uses it.
import { kernelRelease } from "holdfast:host";
import { readFileSync } from "./fs.ts";
import { process } from "./process.ts";
import { SIGNALS } from "./signals.ts";

export const constants: { readonly signals: typeof SIGNALS } = { signals: SIGNALS };

export function release(): string {
  return kernelRelease();
}

export function tmpdir(): string {
  const { TMPDIR, TMP, TEMP } = process.env;
  const directory = TMPDIR || TMP || TEMP || "/tmp";
  return directory.length > 1 && directory.endsWith("/") ? directory.slice(0, -1) : directory;
}

const UID_FIELD = 2;
const HOME_FIELD = 5;

export function homedir(): string {
  const { HOME } = process.env;
  if (HOME !== undefined) return HOME;
  const lines = String(readFileSync("/etc/passwd", "utf8")).split("\n");
  const uid = String(process.geteuid());
  return (
    lines.map((line) => line.split(":")).find((fields) => fields[UID_FIELD] === uid)?.[HOME_FIELD] ?? "/"
  );
}
