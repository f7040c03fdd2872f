// What containerd's libraries call each kind of refusal. They put it at the end of an error's text; its clients of 2.0 and newer show the text as it
// came, and older ones put it there themselves unless it is there already. Used where the task service is given to the server.
import type { CallContext, ServiceDefinition, ServiceImplementation } from "../ttrpc/definition.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";

const CLASSES: Readonly<Record<number, string>> = {
  [Code.INVALID_ARGUMENT]: "invalid argument",
  [Code.NOT_FOUND]: "not found",
  [Code.ALREADY_EXISTS]: "already exists",
  [Code.FAILED_PRECONDITION]: "failed precondition",
  [Code.UNAVAILABLE]: "unavailable",
  [Code.UNIMPLEMENTED]: "not implemented",
};

/** The service with each refusal's kind at the end of its text. */
export function withErrorClasses<D extends ServiceDefinition>(
  definition: D,
  service: ServiceImplementation<D>,
): ServiceImplementation<D> {
  const handlers = service as Record<string, (request: unknown, call: CallContext) => unknown>;
  const wrapped = Object.keys(definition.methods).map((name) => {
    const handler = (request: unknown, call: CallContext): unknown => {
      try {
        const answer = handlers[name]?.call(service, request, call);
        return answer instanceof Promise ? answer.catch(refuse) : answer;
      } catch (error) {
        return refuse(error);
      }
    };
    return [name, handler] as const;
  });
  return Object.fromEntries(wrapped) as unknown as ServiceImplementation<D>;
}

function refuse(error: unknown): never {
  throw withClass(error);
}

function withClass(error: unknown): unknown {
  if (!(error instanceof TtrpcError)) return error;
  const words = CLASSES[error.code];
  if (words === undefined || error.rawMessage.endsWith(words)) return error;
  return new TtrpcError(error.code, `${error.rawMessage}: ${words}`, {
    cause: error,
    details: error.details,
  });
}
