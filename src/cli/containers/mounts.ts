// Mounts of a container from flags: --mount, --volume, --tmpfs.
import { existsSync, mkdirSync } from "node:fs";
import { isAbsolute, posix, resolve } from "node:path";
import { Problem, USAGE } from "../text/problem.ts";

/** As the OCI runtime specification has it. */
export interface Mount {
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

/** `own` in the place of what is mounted there already, a directory before what is below it. Throws a Problem if two are for one place. */
export function withMounts(base: readonly Mount[], own: readonly Mount[]): Mount[] {
  const place = ({ destination }: Mount): string => posix.resolve("/", destination);
  const taken = new Set<string>();
  for (const each of own) {
    if (taken.has(place(each)))
      throw new Problem(`${each.destination}: two mounts are for that place`, USAGE);
    taken.add(place(each));
  }
  const depth = (mount: Mount): number => place(mount).split("/").length;
  const sorted = [...own].sort((a, b) => depth(a) - depth(b));
  return [...base.filter((mount) => !taken.has(place(mount))), ...sorted];
}

/**
 * The OCI mount of "type=bind,source=/data,target=/srv,options=ro:nosuid"; src, dst, destination and a bare "readonly" are known too.
 * Throws a Problem.
 */
export function parseMount(text: string): Mount {
  const fields = new Map<string, string>();
  for (const part of text.split(",")) {
    const [key = "", ...value] = part.split("=");
    fields.set(key.trim().toLowerCase(), value.join("="));
  }
  const take = (...keys: string[]): string | undefined =>
    keys.map((key) => fields.get(key)).find((value) => value);
  const type = take("type") ?? "bind";
  const destination = take("target", "destination", "dst");
  const source = take("source", "src") ?? (type === "bind" ? undefined : type);
  if (destination === undefined || source === undefined) {
    throw new Problem(
      `--mount ${text}: needs source and target: type=bind,source=/here,target=/there`,
      USAGE,
    );
  }
  if (type === "bind" && !existsSync(source)) throw new Problem(`--mount ${text}: ${source}: no such file`);
  const options = (take("options", "o") ?? "").split(":").filter(Boolean);
  if (type === "bind" && !options.some((option) => /^r?bind$/.test(option))) options.unshift("rbind");
  if (fields.has("readonly") || fields.has("ro")) options.push("ro");
  return { destination, type, source: type === "bind" ? resolve(source) : source, options };
}

const ACCESS: readonly string[] = ["ro", "rw"];
const PROPAGATION = /^r?(?:shared|slave|private)$/;
/** Labels for SELinux, which these containers do not have; and what only matters on other systems. */
const MEANINGLESS: readonly string[] = ["z", "Z", "cached", "delegated", "consistent", "nocopy"];

/** "DIR:DIR[:ro]", both as directories; the host's is made if it is not there, as with Docker. Throws a Problem. */
export function parseVolume(text: string): Mount {
  const [source = "", destination, options = "", ...more] = text.split(":");
  const refuse = (what: string): never => {
    throw new Problem(`--volume ${text}: ${what}`, USAGE);
  };
  if (destination === undefined) return refuse("give a directory of the host too: DIR:DIR");
  if (more.length > 0 || !isAbsolute(destination)) refuse("give it as in /data:/srv or /data:/srv:ro");
  if (destination === "/") refuse("the root is the image's");
  if (!/^[./~]/.test(source) && !source.includes("/"))
    refuse("there are no volumes by name: give a directory, such as ./data");
  const words = options.split(",").filter((word) => word !== "" && !MEANINGLESS.includes(word));
  for (const word of words)
    if (!ACCESS.includes(word) && !PROPAGATION.test(word))
      refuse(`${word}: this knows ro, rw and propagation`);
  const path = resolve(source);
  if (!existsSync(path)) mkdirSync(path, { recursive: true, mode: 0o755 });
  return { destination, type: "bind", source: path, options: ["rbind", ...words] };
}

/** "DIR[:OPTIONS]" as a file system in memory. Throws a Problem. */
export function parseTmpfs(text: string): Mount {
  const colon = text.indexOf(":");
  const [destination, words] = colon < 0 ? [text, ""] : [text.slice(0, colon), text.slice(colon + 1)];
  if (!isAbsolute(destination) || destination === "/")
    throw new Problem(`--tmpfs ${text}: give it as in /tmp or /tmp:size=64m`, USAGE);
  const given = words.split(",").filter((word) => word !== "");
  const opposite = (word: string): string => (word.startsWith("no") ? word.slice(2) : `no${word}`);
  const usual = ["noexec", "nosuid", "nodev"].filter(
    (word) => !given.includes(opposite(word)) && !given.includes(word),
  );
  return { destination, type: "tmpfs", source: "tmpfs", options: [...usual, ...given] };
}
