// A private systemd that runs daemons as services: a user manager of its own, in a mount namespace where systemd counts as booted. Used by
// systemd-service.test.ts.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { check, type Output, Running, run } from "./command.ts";
import { enterGroup, removeGroup } from "./control-groups.ts";
import { eventually } from "./eventually.ts";

const MANAGER = "/lib/systemd/systemd";
/** What services depend on by default; nothing of the machine's own is enabled there. */
const STANDARD_UNITS = "/usr/lib/systemd/user";
const BOOTED = "/run/systemd/system";

/** For the `skip` of a test that needs it. */
export const noSystemd: string | false = !existsSync(MANAGER)
  ? "systemd is not installed"
  : needsUnified()
    ? "systemd since 258 does not start on control groups of version 1"
    : false;

function needsUnified(): boolean {
  const { stdout } = spawnSync(MANAGER, ["--version"], { encoding: "utf8" });
  return (
    Number(stdout.match(/^systemd (\d+)/)?.[1]) >= 258 && !existsSync("/sys/fs/cgroup/cgroup.controllers")
  );
}

export class Systemd {
  readonly #directory = mkdtempSync(join(tmpdir(), "holdfast-systemd-"));
  /** Its part of the control groups: a manager takes over all that is in the group where it starts, which may be the whole machine. */
  readonly #group = basename(this.#directory);
  readonly #manager: Running;

  private constructor() {
    for (const name of ["units", "run"]) mkdirSync(join(this.#directory, name), { mode: 0o700 });
    // An empty file would be a masked unit.
    writeFileSync(join(this.#directory, "units", "default.target"), "[Unit]\n");
    const isBooted = `test -d ${BOOTED} || { mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir ${BOOTED}; }`;
    const manager = `${isBooted}; ${enterGroup(this.#group)}; exec setpriv --pdeathsig KILL ${MANAGER} --user`;
    const argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", manager];
    this.#manager = new Running(argv, { env: this.#env, timeoutMs: 3_600_000 });
  }

  /** Starts it, and resolves when it takes orders. */
  static async start(): Promise<Systemd> {
    const systemd = new Systemd();
    await eventually(
      "systemd to take orders",
      async () => (await systemd.#systemctl(["list-units"])).status === 0,
    );
    return systemd;
  }

  get #env(): Record<string, string> {
    const units = join(this.#directory, "units");
    return {
      HOME: this.#directory,
      XDG_CONFIG_HOME: this.#directory,
      XDG_RUNTIME_DIR: join(this.#directory, "run"),
      SYSTEMD_UNIT_PATH: `${units}:${STANDARD_UNITS}`,
      DBUS_SESSION_BUS_ADDRESS: "",
    };
  }

  /** Takes the text of a unit as its package has it, with these lines in place of the [Service] section's of the same names. */
  async install(name: string, unit: string, service: readonly string[]): Promise<void> {
    const dropIn = join(this.#directory, "units", `${name}.d`);
    mkdirSync(dropIn, { recursive: true });
    writeFileSync(join(this.#directory, "units", name), unit);
    const lines = service.flatMap((line) => [line.replace(/=.*/s, "="), line]);
    writeFileSync(join(dropIn, "test.conf"), `${["[Service]", ...lines].join("\n")}\n`);
    await this.do(["daemon-reload"]);
  }

  #systemctl(args: readonly string[]): Promise<Output> {
    return run(["systemctl", "--user", ...args], { env: this.#env });
  }

  /** Runs systemctl; rejects unless it succeeds. */
  do(args: readonly string[]): Promise<string> {
    return check(["systemctl", "--user", ...args], { env: this.#env });
  }

  /** The value of a unit's property, as text. */
  async property(name: string, property: string): Promise<string> {
    return (await this.do(["show", "--value", `--property=${property}`, name])).trim();
  }

  /** Stops its services, and it. */
  async close(): Promise<void> {
    await this.#systemctl(["exit"]);
    await this.#manager.exited;
    removeGroup(this.#group);
    rmSync(this.#directory, { recursive: true });
  }
}
