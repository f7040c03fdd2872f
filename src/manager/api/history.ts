// Our own service: what is remembered of containers. The CLI's wait, inspect and timeline ask it.
import type { GetHistoryResponse, HistoryDefinition } from "../../api/generated/history.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { type Call, type Handlers, until } from "../grpc-server.ts";
import type { Histories } from "../history.ts";
import type { Store } from "../store.ts";
import type { Tasks } from "../tasks.ts";

export function historyService(
  histories: Histories,
  tasks: Tasks,
  store: Store,
): Handlers<HistoryDefinition> {
  const get = (call: Call, id: string): GetHistoryResponse => {
    store.containers.get(call.namespace, id);
    return histories.find(call.namespace, id) ?? { steps: [] };
  };
  return {
    get: ({ containerId }, call) => get(call, containerId),

    async wait({ containerId }, call) {
      const known = get(call, containerId);
      const task = tasks.find(call.namespace, containerId);
      if (task !== undefined) {
        const { exitStatus, exitedAt } = await until(call, task.wait(""));
        const history = get(call, containerId);
        if (history.exit !== undefined) return history;
        // The waiter was quicker than the event.
        return { ...history, exit: { status: exitStatus, exitedAt, pid: task.pid, oom: false } };
      }
      if (known.exit === undefined) {
        throw new TtrpcError(Code.FAILED_PRECONDITION, `container ${containerId} has not been started`);
      }
      return known;
    },
  };
}
