// What /proc/PID/stat says, of which everybody reads a part.

/** The fields from the state on, which is the first: "pid (name) state parent …", and the name may hold anything. */
export function statFields(text: string): string[] {
  return text
    .slice(text.lastIndexOf(")") + 2)
    .trim()
    .split(" ");
}

/** When the process was started, in clock ticks since the boot. Empty where that is not said. */
export function startTimeIn(fields: readonly string[]): string {
  return fields[START_TIME] ?? "";
}

/** proc(5) counts two more, and from 1. */
const START_TIME = 19;
