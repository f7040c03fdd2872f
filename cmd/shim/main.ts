// containerd-shim-holdfast-v2: argv → start | delete | info | version. `start` forks the process that serves.
import { useTextEncoding } from "../../src/api/text-encoding.ts";
import { errorText } from "../../src/log/log.ts";
import type { Platform } from "../../src/platform/platform.ts";
import { quickjsPlatform } from "../../src/platform/quickjs.ts";
import { adopt } from "../../src/shim/adopt.ts";
import { type Arguments, parseArguments } from "../../src/shim/args.ts";
import { start } from "../../src/shim/bootstrap.ts";
import { deleteContainer } from "../../src/shim/delete.ts";
import { runtimeInfo, versionText } from "../../src/shim/info.ts";
import { probeState, resume } from "../../src/shim/resume.ts";

const PROGRAM = "containerd-shim-holdfast-v2";
const STDOUT = 1;
const STDERR = 2;

async function run(platform: Platform): Promise<void> {
  const keeper = platform.keeping.keeper();
  if (keeper?.resumed) return resume(platform, keeper);
  const args = parseArguments(platform.self.argv.slice(1));
  const write = (fd: number, bytes: Uint8Array): void => writeAll(platform, fd, bytes);
  if (args.version) write(STDOUT, platform.text.encode(versionText(PROGRAM)));
  else if (args.probeState) write(STDOUT, platform.text.encode(probeState(platform)));
  else if (args.info) write(STDOUT, await runtimeInfo(platform));
  else if (args.action === "start" && args.adopt) return adopt(platform, demandIdentity(args));
  else if (args.action === "start") return start(platform, demandIdentity(args));
  else if (args.action === "delete") {
    const warn = (text: string): void => write(STDERR, platform.text.encode(`${text}\n`));
    write(STDOUT, await deleteContainer(platform, demandIdentity(args), warn));
  } else
    throw new Error(
      args.action === "" ? "expected an action: start or delete" : `unknown action ${args.action}`,
    );
  platform.self.exit(0);
}

function demandIdentity(args: Arguments): Arguments {
  if (args.namespace === "") throw new Error("shim namespace cannot be empty");
  if (args.id === "") throw new Error("container id cannot be empty");
  return args;
}

function writeAll(platform: Platform, fd: number, bytes: Uint8Array): void {
  for (let rest = bytes; rest.length > 0; ) {
    const written = platform.fds.write(fd, rest);
    if (written < 0) throw new Error(`write to descriptor ${fd}: nobody reads`);
    rest = rest.subarray(written);
  }
}

const platform = quickjsPlatform();
useTextEncoding(platform.text);
run(platform).catch((error) => {
  writeAll(platform, STDERR, platform.text.encode(`${PROGRAM}: ${errorText(error)}\n`));
  platform.self.exit(1);
});
