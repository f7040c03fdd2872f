// What people type: a container of an image that is here, help, a list. Beside ctr and docker of the same machine, in turns. Used by main.ts.
import { Cli } from "../test/cli/cli.ts";
import type { Daemon } from "../test/harness/daemon.ts";
import { IMAGE as DOCKER_IMAGE, Docker } from "../test/harness/docker.ts";
import { IMAGE, importImage } from "../test/harness/image.ts";
import { inParallel } from "../test/harness/parallel.ts";
import { amongContainers } from "./manager.ts";
import type { Sides } from "./memory.ts";
import { median } from "./time.ts";

/** In ms. */
export interface CommandTimes {
  readonly run: { readonly holdfast: number; readonly ctr: number; readonly docker: number };
  readonly help: { readonly holdfast: number; readonly docker: number };
  readonly ps: { readonly holdfast: number; readonly docker: number };
}

/** `containers` are there on both sides while they are listed. */
export async function commandTimes(
  [ours, theirs]: Sides,
  count: number,
  containers: number,
): Promise<CommandTimes> {
  const docker = await Docker.onContainerd("plain");
  const cli = new Cli(ours);
  try {
    for (const daemon of [ours, theirs]) await importImage(daemon);
    let id = 0;
    const ctrRun = (): Promise<unknown> =>
      theirs.ctr.do(theirs.ctr.imageArgs(`bench-${id++}`, IMAGE, ["true"], ["--rm"]));
    const [holdfast, ctr, dockerRun] = await inTurns(count, [
      () => cli.do(["run", "--rm", "--net", "none", IMAGE, "true"]),
      ctrRun,
      () => docker.do(["run", "--rm", "--network", "none", DOCKER_IMAGE, "true"]),
    ]);
    const [help, dockerHelp] = await inTurns(count, [() => cli.do(["--help"]), () => docker.do(["--help"])]);
    const [ps, dockerPs] = await amongBoth(ours, docker, containers, () =>
      inTurns(count, [() => cli.do(["ps"]), () => docker.do(["ps"])]),
    );
    return {
      run: { holdfast, ctr, docker: dockerRun },
      help: { holdfast: help, docker: dockerHelp },
      ps: { holdfast: ps, docker: dockerPs },
    };
  } finally {
    cli.close();
    await docker.close();
  }
}

const WIDTH = 4;

async function amongBoth<T>(
  daemon: Daemon,
  docker: Docker,
  count: number,
  measure: () => Promise<T>,
): Promise<T> {
  const names = Array.from({ length: count }, (_, index) => `idle-${index}`);
  return amongContainers(daemon, count, async () => {
    const run = ["run", "-d", "--network", "none"];
    await inParallel(
      WIDTH,
      names,
      async (name) => void (await docker.do([...run, "--name", name, DOCKER_IMAGE, "sleep", "100000"])),
    );
    try {
      return await measure();
    } finally {
      await docker.do(["rm", "-f", ...names]);
    }
  });
}

/** The median time of each, in ms; one after the other, so that whatever else the machine does meets all. */
async function inTurns<A extends (() => Promise<unknown>)[]>(
  count: number,
  acts: [...A],
): Promise<{ [K in keyof A]: number }> {
  const times = acts.map((): number[] => []);
  // Once for nothing: what is warm counts.
  for (const act of acts) await act();
  for (let turn = 0; turn < count; turn++) {
    for (const [index, act] of acts.entries()) {
      const began = performance.now();
      await act();
      times[index]?.push(performance.now() - began);
    }
  }
  return times.map(median) as { [K in keyof A]: number };
}
