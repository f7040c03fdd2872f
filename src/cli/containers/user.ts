// Who -u means: numbers, or names as the container's own passwd and group have them.
import { Problem, USAGE } from "../text/problem.ts";
import { type Root, readRootFile } from "./root-file.ts";

export interface User {
  readonly uid: number;
  readonly gid: number;
  /** Absent where a group is given, or nobody has put the user into others. */
  readonly additionalGids?: readonly number[];
}

const MAX_ID = 2 ** 32 - 2;

/**
 * The OCI user of "1000", "1000:1000", "www", "www:adm" or "1000:adm". As with Docker a user without a group has that of its passwd line, and the groups
 * that it is a member of. `root` is undefined where nobody can look. Throws a Problem.
 */
export function userOf(text: string, root: Root | undefined): User {
  const [name = "", group, ...more] = text.split(":");
  if (name === "" || group === "" || more.length > 0) {
    throw new Problem(
      `--user ${text}: give a user, or a user and a group, as in 1000:1000 or www:adm`,
      USAGE,
    );
  }
  const lines = (path: string): string[][] =>
    (root === undefined ? undefined : readRootFile(root, path))?.split("\n").map((line) => line.split(":")) ??
    [];
  const users = lines("/etc/passwd");
  const found =
    users.find(([each]) => each === name) ?? users.find(([, , uid]) => isId(name) && uid === name);
  const uid = idOf(found?.[2] ?? name);
  if (uid === undefined)
    throw new Problem(`--user ${text}: the container's /etc/passwd has no ${name}`, USAGE);
  const groups = lines("/etc/group");
  if (group !== undefined) {
    const gid = idOf(groups.find(([each]) => each === group)?.[2] ?? group);
    if (gid === undefined)
      throw new Problem(`--user ${text}: the container's /etc/group has no ${group}`, USAGE);
    return { uid, gid };
  }
  const additional = groups.filter(
    ([, , , members = ""]) => found !== undefined && members.split(",").includes(found[0] ?? ""),
  );
  const additionalGids = additional.map(([, , gid = ""]) => idOf(gid)).filter((gid) => gid !== undefined);
  return { uid, gid: idOf(found?.[3] ?? "0") ?? 0, ...(additionalGids.length > 0 && { additionalGids }) };
}

function isId(text: string): boolean {
  return /^\d+$/.test(text);
}

function idOf(text: string): number | undefined {
  return isId(text) && Number(text) <= MAX_ID ? Number(text) : undefined;
}
