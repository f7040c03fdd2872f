// Which control groups the kernel offers, as runc looks for them. A check of `doctor`.
import { type MountEntry, parseMountinfo } from "../../platform/mountinfo.ts";
import type { Finding } from "./finding.ts";

const ROOT = "/sys/fs/cgroup";
const WANTED = ["memory", "cpu", "pids", "freezer"] as const;
/** Options of a mount that are no controllers. */
const NO_CONTROLLERS: readonly string[] = [
  "rw",
  "ro",
  "xattr",
  "noprefix",
  "clone_children",
  "cpuset_v2_mode",
  "none",
];

/** From /proc/self/mountinfo, and what `cgroup.controllers` of the root lists on a host with version 2. */
export function controlGroups(mountinfo: string, controllers: string): Finding {
  const check = "control groups";
  const mounts = parseMountinfo(mountinfo);
  const v2 = mounts.filter(({ type }) => type === "cgroup2");
  const v1 = mounts.filter(({ type }) => type === "cgroup").flatMap(controllersOf);
  // runc goes by what is mounted there, whatever there is elsewhere; the last mounted is what one sees.
  const unified = mounts.findLast(({ point }) => point === ROOT)?.type === "cgroup2";
  if (v1.length === 0 && !unified) {
    const elsewhere =
      v2[0] === undefined ? "none mounted" : `version 2 at ${v2[0].point} only, where runc does not look`;
    return { check, level: "bad", found: elsewhere, advice: `mount -t cgroup2 none ${ROOT}` };
  }
  const mode = unified ? "v2" : v2.length === 0 ? "v1" : "v1 (hybrid)";
  // Version 2 freezes without a controller.
  const offered: readonly string[] = unified ? [...controllers.split(/\s+/), "freezer"] : v1;
  const missing = WANTED.filter((name) => !offered.includes(name));
  if (missing.length === 0) return { check, level: "good", found: mode };
  const taken = missing.filter((name) => unified && v1.includes(name));
  return {
    check,
    level: "bad",
    found: `${mode}, without ${missing.join(", ")}`,
    advice:
      taken.length > 0
        ? `unmount the version 1 hierarchies of ${taken.join(", ")}: while they are mounted version 2 does not have them`
        : "limits and figures of these do not work: look for cgroup_disable= on the kernel's command line",
  };
}

/** A hierarchy with a name and nothing else (systemd's own) controls nothing. */
function controllersOf({ options }: MountEntry): string[] {
  return options.filter((option) => !option.includes("=") && !NO_CONTROLLERS.includes(option));
}
