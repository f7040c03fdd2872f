// A client of the daemon whose calls stop between two steps, for as long as somebody else does something. Used by races.test.ts.
import type { DaemonClient } from "../../src/cli/containers/daemon-client.ts";

/** By "service.method": what happens when it is called; `go` makes the call. */
export type Interceptions = Readonly<Record<string, (go: () => Promise<unknown>) => Promise<unknown>>>;

/** The same client, under any lease too. */
export function intercepted(daemon: DaemonClient, interceptions: Interceptions): DaemonClient {
  return new Proxy(daemon, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name === "underLease")
        return (lease: string) => intercepted(target.underLease(lease), interceptions);
      if (typeof value === "function") return value.bind(target);
      return typeof value === "object" && value !== null
        ? service(String(name), value as Service, interceptions)
        : value;
    },
  });
}

type Service = Readonly<Record<string, (request: unknown) => unknown>>;

function service(name: string, methods: Service, interceptions: Interceptions): Service {
  return Object.fromEntries(
    Object.entries(methods).map(([method, call]) => {
      const interception = interceptions[`${name}.${method}`];
      if (interception === undefined) return [method, call];
      return [method, (request: unknown) => interception(async () => call(request))];
    }),
  );
}

/** Does `act` the first time only. */
export function once(act: () => Promise<unknown>): () => Promise<void> {
  let isDone = false;
  return async () => {
    if (isDone) return;
    isDone = true;
    await act();
  };
}
