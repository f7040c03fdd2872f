// The program of the native tests: runs the case that its first argument names. Compiled for both builds by test/native/host-program.ts.
import * as host from "holdfast:host";
import { bytesCases } from "./bytes.ts";
import { errorCases } from "./errors.ts";
import { fileCases } from "./files.ts";
import { imageCases } from "./image.ts";
import { loopCases } from "./loop.ts";
import { memoryCases } from "./memory.ts";
import { mountCases } from "./mounts.ts";
import { processCases } from "./processes.ts";
import { relayCases } from "./relays.ts";
import { selfCases } from "./self.ts";
import { socketCases } from "./sockets.ts";

const cases: Record<string, (...args: string[]) => unknown> = {
  ...bytesCases,
  ...errorCases,
  ...fileCases,
  ...imageCases,
  ...loopCases,
  ...memoryCases,
  ...mountCases,
  ...processCases,
  ...relayCases,
  ...selfCases,
  ...socketCases,
};

const [, name = "", ...args] = host.argv;
const run = cases[name];
if (run === undefined) throw new Error(`no case ${name}`);
run(...args);
