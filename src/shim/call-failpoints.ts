// The failpoints that every call has: METHOD:request when it was taken up, METHOD:response when its answer is known and not sent.
import { failpoint, hasFailpoints } from "../platform/failpoint.ts";
import type { CallContext, ServiceDefinition, ServiceImplementation } from "../ttrpc/definition.ts";

export function withFailpoints<D extends ServiceDefinition>(
  definition: D,
  service: ServiceImplementation<D>,
): ServiceImplementation<D> {
  if (!hasFailpoints()) return service;
  const handlers = service as Record<string, (request: unknown, call: CallContext) => unknown>;
  const wrapped = Object.entries(definition.methods).map(([key, { name }]) => {
    const passOn = (answer: unknown): unknown => {
      failpoint(`${name}:response`);
      return answer;
    };
    const handler = (request: unknown, call: CallContext): unknown => {
      failpoint(`${name}:request`);
      const answer = handlers[key]?.call(service, request, call);
      return answer instanceof Promise ? answer.then(passOn) : passOn(answer);
    };
    return [key, handler] as const;
  });
  return Object.fromEntries(wrapped) as unknown as ServiceImplementation<D>;
}
