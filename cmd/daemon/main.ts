// holdfastd: argv → configuration → the daemon, until a signal ends it.

// Behind it, as it takes a moment to load.
import { pino } from "pino";
import { parseCommandLine } from "../../src/manager/command-line.ts";
import { ConfigError } from "../../src/manager/config.ts";
import { Daemon } from "../../src/manager/daemon.ts";
import { LogOutput } from "../../src/manager/log-output.ts";
import { notifySystemd } from "../../src/manager/notify.ts";
import { onSignal } from "../../src/manager/signals.ts";
import { useNodeFailpoint } from "../../src/platform/node-failpoint.ts";
import { nameProcess, userArguments } from "../../src/platform/node-launch.ts";

const STDERR = 2;
const USAGE = 2;
const USUAL_UMASK = 0o022;

async function main(): Promise<number | undefined> {
  const words = userArguments();
  nameProcess("holdfastd", words);
  useNodeFailpoint(process.env.HOLDFAST_FAILPOINT);
  const command = parseCommandLine(words, process.env);
  if (command.action === "print") {
    process.stdout.write(command.text);
    return 0;
  }
  const output = new LogOutput(STDERR, (lines) =>
    log.warn({ lines }, "log lines were dropped: nobody has read the log for long"),
  );
  process.once("exit", () => output.flush());
  const log = pino({ level: command.config.logLevel, base: null }, output);
  // lmdb leaves promises of its own behind when a disk is full; whoever called has got an error. Containers need us more than a clean exit.
  process.on("unhandledRejection", (reason) =>
    log.error({ error: reason instanceof Error ? reason.stack : reason }, "unhandled rejection"),
  );
  const notify = (state: "READY=1" | "STOPPING=1") =>
    notifySystemd(state).catch((error: unknown) =>
      log.warn({ error: String(error) }, "cannot notify systemd"),
    );
  // Shims have it from us, and runtimes and containers from them.
  process.umask(USUAL_UMASK);
  const starting = Daemon.start(command.config, log);
  let isStopping = false;
  const stop = async (signal: string): Promise<void> => {
    if (isStopping) return;
    isStopping = true;
    log.info({ signal }, "stopping; containers run on");
    void notify("STOPPING=1");
    await (await starting).stop();
    process.exit(0);
  };
  onSignal((signal, role) => {
    if (role === "stop") void stop(signal);
    else if (role === "dump") void starting.then((daemon) => log.info(daemon.dump(), "state"));
    // Settings are read at the start only; and whoever reads our log may go away, our work goes on. SIGPIPE comes with every client that has gone
    // before it had its answer.
    else if (signal !== "SIGPIPE") log.info({ signal }, "signal has no meaning here");
  });
  await starting;
  void notify("READY=1");
  return undefined;
}

main().then(
  (status) => {
    if (status !== undefined) process.exitCode = status;
  },
  (error: unknown) => {
    process.stderr.write(`holdfastd: ${error instanceof Error ? error.message : error}\n`);
    process.exit(error instanceof ConfigError ? USAGE : 1);
  },
);
