// Our own service: what is remembered of containers. The CLI's wait, inspect and timeline ask it.
import type { GetHistoryResponse, HistoryDefinition } from "../../api/generated/history.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Histories } from "../records/history.ts";
import type { Store } from "../records/store.ts";
import { NO_EXIT } from "../records/task-record.ts";
import type { Call, Handlers } from "../server/grpc-server.ts";
import type { Tasks } from "../tasks/tasks.ts";

export function historyService(
  histories: Histories,
  tasks: Tasks,
  store: Store,
): Handlers<HistoryDefinition> {
  const get = (call: Call, id: string): GetHistoryResponse => {
    const known = histories.find(call.namespace, id);
    // Of one that we have removed ourselves there is a history, and no record.
    if (known === undefined) store.containers.get(call.namespace, id);
    return known ?? { steps: [] };
  };
  return {
    get: ({ containerId }, call) => get(call, containerId),

    async wait({ containerId }, call) {
      const known = get(call, containerId);
      const task = tasks.find(call.namespace, containerId);
      if (task !== undefined) {
        const { exitStatus, exitedAt } = await task.wait("", call.signal);
        const history = get(call, containerId);
        if (history.exit !== undefined) return history;
        // The waiter was quicker than the event.
        const [status, pid] = [exitStatus, task.pid];
        return { ...history, exit: { ...NO_EXIT, status, exitedAt, pid } };
      }
      if (known.exit === undefined) {
        throw new TtrpcError(Code.FAILED_PRECONDITION, `container ${containerId} has not been started`);
      }
      return known;
    },
  };
}
