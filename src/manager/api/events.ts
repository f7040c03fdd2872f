// The events service for clients, and its little sister for shims (ttrpc).
import { containerOfEvent, readEventFields } from "../../api/event-types.ts";
import type { EventsDefinition } from "../../api/generated/events.ts";
import type { EventsDefinition as ShimEventsDefinition } from "../../api/generated/forward.ts";
import type { ServiceImplementation } from "../../ttrpc/definition.ts";
import type { Exchange } from "../exchange.ts";
import { failpoint } from "../failpoint.ts";
import type { Handlers } from "../grpc-server.ts";
import type { Histories } from "../history.ts";

export function eventsService(exchange: Exchange): Handlers<EventsDefinition> {
  return {
    publish({ topic, event }, call) {
      exchange.publishFor(call.namespace, topic, event);
      return {};
    },
    forward({ envelope }) {
      exchange.forward(envelope);
      return {};
    },
    subscribe: ({ filters }) => exchange.subscribe(filters),
  };
}

/** An event is thanked for once it would survive our end: only then may its shim forget it. */
export function shimEventsService(
  exchange: Exchange,
  histories: Histories,
): ServiceImplementation<ShimEventsDefinition> {
  return {
    async forward({ envelope }) {
      const { topic = "", namespace = "", event } = envelope ?? {};
      failpoint(`Forward${topic}:request`);
      exchange.forward(envelope);
      const id = containerOfEvent(topic, readEventFields(event));
      if (id !== undefined) await histories.saved(namespace, id);
      failpoint(`Forward${topic}:response`);
      return {};
    },
  };
}
