// Which signals a serving shim takes, and what they mean to it.
import { SIGINT, SIGQUIT, SIGTERM, SIGUSR1 } from "../platform/platform.ts";

/** Faults of the program itself (ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS), and what nobody can take (KILL, STOP). PIPE is ignored from the start. */
const NOT_TAKEN = [4, 5, 6, 7, 8, 9, 11, 13, 19, 31];
/** The signals that a serving shim takes: all others. None of them ends it but those that ask for it; a shim takes its container along. */
export const SERVED_SIGNALS: readonly number[] = Array.from({ length: 64 }, (_, index) => index + 1).filter(
  (signal) => !NOT_TAKEN.includes(signal),
);
export const ENDING: readonly number[] = [SIGINT, SIGQUIT, SIGTERM];
/** What operators send for a dump. */
export const DUMPING: readonly number[] = [SIGUSR1, SIGQUIT];
