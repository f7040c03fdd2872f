// Signals: those that end holdfastd, the one that has it log its state, and all others, which must not end it (an operator's SIGUSR1 opens Node's inspector to
// every local user, unless somebody listens). Loaded first by cmd/daemon/main.ts: until then Node's own handlers are in place.
import { constants } from "node:os";

export type SignalRole = "stop" | "dump" | "ignore";

const ROLES: Readonly<Record<string, SignalRole>> = {
  SIGTERM: "stop",
  SIGINT: "stop",
  SIGQUIT: "stop",
  SIGUSR1: "dump",
};
/** No program can catch these; the next are the kernel's word that this one is broken, or somebody's wish for a core; the last ones stop and go on. */
const LEFT_ALONE: readonly string[] = [
  ...["SIGKILL", "SIGSTOP"],
  ...["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT", "SIGIOT"],
  ...["SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGCONT", "SIGCHLD", "SIGWINCH", "SIGURG"],
];
/** Node knows no names for real-time signals; glibc keeps the first two for itself. */
const FIRST_REALTIME = 34;
const LAST_REALTIME = 64;

type Listener = (signal: string, role: SignalRole) => void;

/** Kept from being collected. */
const handles: SignalHandle[] = [];
const early: [signal: string, role: SignalRole][] = [];
let listener: Listener = (signal, role) => void early.push([signal, role]);

for (const name of Object.keys(constants.signals)) {
  if (LEFT_ALONE.includes(name)) continue;
  const role = ROLES[name] ?? "ignore";
  try {
    process.on(name, () => listener(name, role));
  } catch {
    // One that this Node cannot listen to: it stays as it is.
  }
}
withoutWarnings(() => {
  for (let number = FIRST_REALTIME; number <= LAST_REALTIME; number++) listenByNumber(number);
});

/** Calls `each` for every signal from now on, and for those that came before. */
export function onSignal(each: Listener): void {
  listener = each;
  for (const [signal, role] of early.splice(0)) each(signal, role);
}

interface SignalHandle {
  onsignal: () => void;
  start(signal: number): number;
  unref(): void;
}

/** Node says on stderr that the way of listenByNumber is an old one, each time. */
function withoutWarnings(act: () => void): void {
  const before = process.noDeprecation;
  Object.assign(process, { noDeprecation: true });
  act();
  Object.assign(process, { noDeprecation: before });
}

/** Caught, not ignored: programs that we start have the default again. Where a Node no longer has this way, the signal ends us, as it always did. */
function listenByNumber(number: number): void {
  try {
    const { binding } = process as unknown as { binding(name: string): { Signal: new () => SignalHandle } };
    const { Signal } = binding.call(process, "signal_wrap");
    const handle = new Signal();
    handle.unref();
    handle.onsignal = () => listener(`signal ${number}`, "ignore");
    handle.start(number);
    handles.push(handle);
  } catch {
    // See above.
  }
}
