// The environment of the programs that we start: ours, without what is meant for us, for Node or for a service of systemd. A shim hands its own on to runtimes,
// hooks and loggers. Used wherever a program is started.

/** NODE_OPTIONS and its like, npm's and libuv's settings; our own; systemd's messages to one process (systemd.exec(5)). */
const NOT_FOR_CHILDREN =
  /^(?:NODE_|NODE$|npm_|NPM_|UV_|V8_|TSX_|HOLDFAST_|NOTIFY_SOCKET$|LISTEN_(?:FDS|PID|FDNAMES)$|WATCHDOG_(?:PID|USEC)$|MAINPID$|INVOCATION_ID$|JOURNAL_STREAM$|SYSTEMD_EXEC_PID$|MEMORY_PRESSURE_(?:WATCH|WRITE)$|CREDENTIALS_DIRECTORY$|FDSTORE$)/;

/** Throws nothing away that has another meaning: PATH, proxies, locale and the rest stay. */
export function childEnvironment(
  additions: Readonly<Record<string, string>> = {},
  own: NodeJS.ProcessEnv = process.env,
): NodeJS.ProcessEnv {
  const kept = Object.entries(own).filter(([name]) => !NOT_FOR_CHILDREN.test(name));
  return { ...Object.fromEntries(kept), ...additions };
}
