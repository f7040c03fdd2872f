// What a container may do beyond an ordinary process, from --privileged and --security-opt.
import { readFileSync } from "node:fs";
import { Problem, USAGE } from "../text/problem.ts";
import { defaultSeccomp, seccompFile } from "./seccomp.ts";

export interface SecurityFlags {
  readonly privileged: boolean;
  readonly securityOpts: readonly string[];
  /** Names as they were given, also "all". */
  readonly addedCapabilities: readonly string[];
  readonly droppedCapabilities: readonly string[];
}

export interface Security {
  readonly privileged: boolean;
  readonly capabilities: readonly string[];
  readonly noNewPrivileges: boolean;
  /** OCI's linux.seccomp; undefined for no profile. */
  readonly seccomp: Record<string, unknown> | undefined;
}

/** All that the kernel has, in the order of their numbers. */
const ALL = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW " +
  "IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD " +
  "LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split(" ");

/** What a service needs at most, as in Docker. */
const DEFAULT =
  "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split(
    " ",
  );

/** Throws a Problem for what it does not know. */
export function securityOf(flags: SecurityFlags): Security {
  const { privileged, securityOpts } = flags;
  const capabilities = capabilitiesOf(flags).map((name) => `CAP_${name}`);
  let seccomp = privileged ? undefined : defaultSeccomp(capabilities);
  let noNewPrivileges = !privileged;
  for (const option of securityOpts) {
    const [, name = "", value = ""] = /^([a-z-]+)(?:[=:](.*))?$/.exec(option) ?? [];
    if (name === "seccomp" && value === "unconfined") seccomp = undefined;
    else if (name === "seccomp" && value !== "") seccomp = seccompFile(value, capabilities);
    else if (name === "no-new-privileges" && ["", "true", "false"].includes(value))
      noNewPrivileges = value !== "false";
    else {
      const known = "seccomp=unconfined, seccomp=FILE, no-new-privileges=true|false";
      throw new Problem(`--security-opt ${option}: this knows ${known}`, USAGE);
    }
  }
  return { privileged, capabilities, noNewPrivileges, seccomp };
}

/** As with Docker: what is dropped goes first, what is added comes back, and "all" is all that we have. */
function capabilitiesOf({ privileged, addedCapabilities, droppedCapabilities }: SecurityFlags): string[] {
  const added = addedCapabilities.map(capabilityName);
  const dropped = droppedCapabilities.map(capabilityName);
  const base = privileged || added.includes("ALL") ? ourCapabilities() : DEFAULT;
  const kept = dropped.includes("ALL") && !added.includes("ALL") ? [] : base;
  const wanted = new Set([...kept.filter((name) => !dropped.includes(name)), ...added]);
  return ALL.filter((name) => wanted.has(name));
}

function ourCapabilities(): string[] {
  const last = lastCapability();
  return ALL.filter((_, number) => number <= last && hasCapability(number));
}

/** "NET_ADMIN" for "net_admin" and "CAP_NET_ADMIN"; "ALL". Throws a Problem. */
export function capabilityName(text: string): string {
  const name = text.toUpperCase().replace(/^CAP_/, "");
  if (name !== "ALL" && !ALL.includes(name))
    throw new Problem(`no capability is called ${text}: they are as in NET_ADMIN, or ALL`, USAGE);
  return name;
}

/** The highest number that this kernel knows. */
function lastCapability(): number {
  return Number(readFileSync("/proc/sys/kernel/cap_last_cap", "utf8"));
}

export const CAP_SYS_RESOURCE = 24;

/** Whether we have a capability ourselves, and so, it is to be expected, the daemon. */
export function hasCapability(number: number): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return effective !== undefined && ((BigInt(`0x${effective}`) >> BigInt(number)) & 1n) === 1n;
}
