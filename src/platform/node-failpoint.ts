// HOLDFAST_FAILPOINT=NAME[#TURN] for a program on Node: it ends as by kill -9 at that place, when it comes by for that time.
import { useFailpoints } from "./failpoint.ts";

export function useNodeFailpoint(variable: string | undefined): void {
  if (variable === undefined) return;
  const [place, turn = "1"] = variable.split("#");
  let left = Number(turn);
  useFailpoints((name) => {
    if (name === place && --left === 0) process.kill(process.pid, "SIGKILL");
  });
}
