// Places where tests let the daemon die, as by kill -9: HOLDFAST_FAILPOINT=NAME, or NAME#2 for the second time it comes by. Costs a comparison.

const [place, turn = "1"] = (process.env.HOLDFAST_FAILPOINT ?? "").split("#");
let passed = 0;

/** Ends this process with SIGKILL if the environment asks for it here. */
export function failpoint(name: string): void {
  if (place !== name) return;
  passed += 1;
  if (passed === Number(turn)) process.kill(process.pid, "SIGKILL");
}
