// gRPC's health service. It answers as soon as the daemon serves at all, and a daemon that serves is well.
import {
  HealthCheckResponse_ServingStatus as Health,
  type HealthCheckResponse,
  type HealthDefinition,
} from "../../api/generated/health.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Handlers } from "../server/grpc-server.ts";

export function healthService(services: ReadonlySet<string>): Handlers<HealthDefinition> {
  const isKnown = (service: string): boolean => service === "" || services.has(service);
  return {
    check({ service }) {
      if (!isKnown(service)) throw new TtrpcError(Code.NOT_FOUND, `unknown service ${service}`);
      return { status: Health.SERVING };
    },

    /** The status now; it ends with the daemon, which a client sees by the stream. */
    async *watch({ service }, call): AsyncIterable<HealthCheckResponse> {
      yield { status: isKnown(service) ? Health.SERVING : Health.SERVICE_UNKNOWN };
      await new Promise<void>((resolve) => call.signal.onCancel(resolve));
    },
  };
}
