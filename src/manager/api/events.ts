// The events service for clients, and its little sister for shims (ttrpc).
import type { EventsDefinition } from "../../api/generated/events.ts";
import type { EventsDefinition as ShimEventsDefinition } from "../../api/generated/forward.ts";
import { failpoint } from "../../platform/failpoint.ts";
import type { ServiceImplementation } from "../../ttrpc/definition.ts";
import type { Exchange } from "../server/exchange.ts";
import type { Handlers } from "../server/grpc-server.ts";

export function eventsService(exchange: Exchange): Handlers<EventsDefinition> {
  return {
    publish({ topic, event }, call) {
      exchange.publishFor(call.namespace, topic, event);
      return {};
    },
    async forward({ envelope }) {
      await exchange.forward(envelope);
      return {};
    },
    subscribe: ({ filters }) => exchange.subscribe(filters),
  };
}

/** An event is acknowledged when it is on record: then its shim may forget it. */
export function shimEventsService(exchange: Exchange): ServiceImplementation<ShimEventsDefinition> {
  return {
    async forward({ envelope }) {
      failpoint(`Forward${envelope?.topic}:request`);
      await exchange.forward(envelope);
      failpoint(`Forward${envelope?.topic}:response`);
      return {};
    },
  };
}
