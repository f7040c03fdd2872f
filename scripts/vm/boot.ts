// Boots the virtual machine, watches it, and ends it: when its tests are over, when it has died, and when they hang. Used by main.ts.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import type { Machine } from "./image.ts";
import { LIMITS, type Limits, type Verdict, Watch } from "./watch.ts";

const KERNEL_ARGUMENTS = [
  ...["console=ttyS0", "quiet", "loglevel=3", "systemd.show_status=0"],
  // qemu runs each processor as a thread, and now and then one meets the mark of a change of the kernel's own code that is over: the machine ends at once.
  "panic=-1",
  // Nothing here is secret from anybody, and every switch of address spaces is dear under emulation.
  ...["mitigations=off", "audit=0", "nokaslr"],
  // Control groups and namespaces go when the processors have all been seen idle once: at once, not at the next ticks.
  "rcupdate.rcu_expedited=1",
  // Each start is the first one of this disk, and there is nothing to be done for it.
  ...["systemd.condition_needs_update=0", "systemd.condition_first_boot=0", "systemd.firstboot=0"],
  ...["systemd.default_device_timeout_sec=900", "systemd.default_timeout_start_sec=900"],
];

/** How many of the console's last lines are shown of a machine that did not end well. */
const CONSOLE_LINES = 30;

export interface Run {
  readonly watch: Watch;
  /** Undefined if the tests have ended. */
  readonly verdict: Verdict | undefined;
}

function argvOf({ kernel, initrd, disk }: Machine, tests: string, port: string): string[] {
  return [
    // It ends with this process, whatever ends that.
    ...["--pdeathsig", "KILL", "qemu-system-x86_64"],
    // Emulation only: the machine that runs this may offer a KVM that does not work.
    ...["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"],
    ...["-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio", "-serial", `file:${port}`],
    ...["-kernel", kernel, "-initrd", initrd],
    ...["-append", KERNEL_ARGUMENTS.join(" ")],
    // What is written to the first disk is forgotten when it powers off.
    ...["-drive", `file=${disk},format=raw,if=virtio,snapshot=on`],
    ...["-drive", `file=${tests},format=raw,if=virtio,readonly=on`],
  ];
}

/** Boots it with the disk of the tests; resolves when it is off. The console's output is ours. */
export async function boot(
  system: Machine,
  tests: string,
  scratch: string,
  limits: Limits = LIMITS,
): Promise<Run> {
  const path = join(scratch, "results");
  closeSync(openSync(path, "w"));
  const child = spawn("setpriv", argvOf(system, tests, path), { stdio: ["ignore", "pipe", "inherit"] });
  const shown = lastLines(child);
  const watch = new Watch(performance.now(), limits);
  const port = follow(path);
  let verdict: Verdict | undefined;
  const timer = setInterval(() => {
    watch.heard(port.more(), performance.now());
    verdict ??= watch.verdict(performance.now());
    if (verdict !== undefined) child.kill("SIGKILL");
  }, 1000);
  const [status, signal] = (await once(child, "close")) as [number | null, string | null];
  clearInterval(timer);
  watch.heard(port.more(), performance.now());
  port.close();
  if (watch.isWhole) return { watch, verdict: undefined };
  verdict ??= { died: true, why: `the machine ended by itself: qemu ${signal ?? `with status ${status}`}` };
  console.log(`\n==> ${verdict.why}. Tests under way: ${watch.running.join("; ") || "none"}`);
  console.log(`==> the console's last lines:\n${shown().join("\n")}`);
  return { watch, verdict };
}

/** Passes the console on; the function returns its last lines. */
function lastLines(child: ChildProcess): () => readonly string[] {
  let kept: string[] = [];
  const decoder = new StringDecoder();
  child.stdout?.on("data", (bytes: Buffer) => {
    process.stdout.write(bytes);
    const [first = "", ...rest] = decoder.write(bytes).split("\n");
    kept = [...kept.slice(0, -1), (kept.at(-1) ?? "") + first, ...rest].slice(-CONSOLE_LINES);
  });
  return () => kept;
}

/** Reads what comes into a file, from its start. */
function follow(path: string): { more(): string; close(): void } {
  const fd = openSync(path, "r");
  const decoder = new StringDecoder();
  const buffer = Buffer.alloc(1 << 16);
  return {
    more() {
      let text = "";
      for (;;) {
        const n = readSync(fd, buffer);
        if (n === 0) return text;
        text += decoder.write(buffer.subarray(0, n));
      }
    },
    close: () => closeSync(fd),
  };
}
