// The environment that a runtime is run with. Used by runc.ts.

/**
 * What a daemon's service manager and the daemon have told it and us, and nobody else. runc would take NOTIFY_SOCKET for the container's, and
 * `runc start` would wait for its READY=1; it hands LISTEN_FDS' descriptors on to the init; hooks get what is left.
 */
const OURS = new Set([
  "NOTIFY_SOCKET",
  "LISTEN_FDS",
  "LISTEN_PID",
  "LISTEN_FDNAMES",
  "WATCHDOG_USEC",
  "WATCHDOG_PID",
  "INVOCATION_ID",
  "JOURNAL_STREAM",
  "MAINPID",
  "MANAGERPID",
  "TTRPC_ADDRESS",
  "GRPC_ADDRESS",
  "NAMESPACE",
  "SCHED_CORE",
  "MAX_SHIM_VERSION",
]);

/** The shim's own environment without that, as "NAME=value". */
export function runtimeEnvironment(own: Readonly<Record<string, string>>): string[] {
  return Object.entries(own)
    .filter(([name]) => !OURS.has(name) && !name.startsWith("HOLDFAST_"))
    .map(([name, value]) => `${name}=${value}`);
}
