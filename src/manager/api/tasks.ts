// The tasks service: finds the container's shim, and asks it (containerd's services/tasks/local.go).
import { RUNC_CHECKPOINT_OPTIONS, unpack } from "../../api/any.ts";
import type { Metric } from "../../api/generated/metric.ts";
import { type Process, Status } from "../../api/generated/process.ts";
import { CheckpointOptions } from "../../api/generated/runc_options.ts";
import type { StateResponse } from "../../api/generated/task.ts";
import type { TasksDefinition } from "../../api/generated/tasks.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import { withoutV1 } from "../../api/v1-options.ts";
import { nodeClock } from "../../platform/node.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { errorText } from "../deferred.ts";
import type { Store } from "../records/store.ts";
import { parseFilters } from "../server/filters.ts";
import type { Call, Handlers } from "../server/grpc-server.ts";
import { SUCCESSION_MS, type Task } from "../tasks/task.ts";
import type { Tasks } from "../tasks/tasks.ts";

/** How long one container may keep a caller waiting for its state, in ms (containerd's 2 s). */
const STATE_TIMEOUT_MS = 2000;

export function tasksService(tasks: Tasks, store: Store): Handlers<TasksDefinition> {
  const { timeouts, log, histories } = tasks.context;

  /** Throws NOT_FOUND, which says whether it is the container or the task that is missing. */
  const find = (call: Call, id: string): Task => {
    const task = tasks.find(call.namespace, id);
    if (task !== undefined) return task;
    store.containers.get(call.namespace, id);
    throw new TtrpcError(Code.NOT_FOUND, `task ${id} not found`);
  };

  /** The same, with a shim that can be asked: one that has died may have a successor in a moment. */
  const reach = async (call: Call, id: string): Promise<Task> => {
    const task = find(call, id);
    await task.reachable();
    return task;
  };

  const logSilent = ({ namespace, id }: Task, error: unknown): void =>
    log.warn({ namespace, id, error: errorText(error) }, "shim does not tell its state");

  return {
    async create(request, call) {
      const { namespace, signal } = call;
      const { containerId, rootfs, stdin, stdout, stderr, terminal, options, runtimePath } = request;
      const container = store.containers.get(namespace, containerId);
      if (request.checkpoint !== undefined) {
        throw new TtrpcError(
          Code.UNIMPLEMENTED,
          "restoring from a checkpoint image is not implemented: name a directory (criu_image_path in the runtime's options)",
        );
      }
      const wanted = { container, rootfs, stdin, stdout, stderr, terminal, options, runtimePath };
      const { pid } = await tasks.create(namespace, wanted, signal);
      return { containerId, pid };
    },

    async start({ containerId, execId }, call) {
      const task = await reach(call, containerId);
      const { pid } = await task.shim.start({ id: containerId, execId }, { signal: call.signal });
      // One that is restored has no process before.
      if (execId === "") task.pid = pid;
      return { pid };
    },

    async delete({ containerId }, call) {
      const { pid, exitStatus, exitedAt } = await tasks.delete(find(call, containerId));
      return { id: "", pid, exitStatus, exitedAt };
    },

    async deleteProcess({ containerId, execId }, call) {
      demandExecId(execId);
      const task = await reach(call, containerId);
      const { pid, exitStatus, exitedAt } = await task.shim.delete(
        { id: containerId, execId },
        { signal: call.signal },
      );
      task.forgetProcess(execId);
      return { id: execId, pid, exitStatus, exitedAt };
    },

    async get({ containerId, execId }, call) {
      const task = find(call, containerId);
      try {
        const state = await task.state(execId, STATE_TIMEOUT_MS, SUCCESSION_MS);
        return { process: describe(task, execId, state) };
      } catch (error) {
        if (TtrpcError.from(error).code !== Code.DEADLINE_EXCEEDED) throw error;
        logSilent(task, error);
        return { process: describeSilent(task, execId) };
      }
    },

    async list(_, call) {
      const listed = tasks.list(call.namespace).map(async (task) => {
        try {
          return describe(task, "", await task.state("", timeouts.shimCall));
        } catch (error) {
          if (TtrpcError.from(error).code === Code.NOT_FOUND || task.isClosed) return undefined;
          logSilent(task, error);
          return describeSilent(task, "");
        }
      });
      return { tasks: (await Promise.all(listed)).filter((process) => process !== undefined) };
    },

    async kill({ containerId, execId, signal, all }, call) {
      const { namespace } = call;
      const task = find(call, containerId);
      const isOfInit = (execId === "" || all) && signal !== 0;
      const kill = { signal, by: call.client, toDelete: call.reason === "delete" };
      const takeBack = isOfInit ? histories.noteKill(namespace, containerId, kill) : () => {};
      try {
        const request = { id: containerId, execId, signal, all };
        await task.ask((shim) => shim.kill(request, { signal: call.signal }));
      } catch (error) {
        takeBack();
        throw error;
      }
      return {};
    },

    async exec({ containerId, execId, stdin, stdout, stderr, terminal, spec }, call) {
      demandExecId(execId);
      const task = await reach(call, containerId);
      await task.shim.exec(
        { id: containerId, execId, stdin, stdout, stderr, terminal, spec },
        { signal: call.signal },
      );
      return {};
    },

    async resizePty({ containerId, execId, width, height }, call) {
      const request = { id: containerId, execId, width, height };
      await find(call, containerId).ask((shim) => shim.resizePty(request, { signal: call.signal }));
      return {};
    },

    async closeIO({ containerId, execId, stdin }, call) {
      const task = find(call, containerId);
      const request = { id: containerId, execId, stdin };
      if (stdin) await task.ask((shim) => shim.closeIO(request, { signal: call.signal }));
      return {};
    },

    async pause({ containerId }, call) {
      await (await reach(call, containerId)).shim.pause({ id: containerId }, { signal: call.signal });
      return {};
    },

    async resume({ containerId }, call) {
      await (await reach(call, containerId)).shim.resume({ id: containerId }, { signal: call.signal });
      return {};
    },

    async listPids({ containerId }, call) {
      const task = find(call, containerId);
      return task.ask((shim) => shim.pids({ id: containerId }, { signal: call.signal }));
    },

    /** Into a directory of the caller's; no image is made of it. */
    async checkpoint({ containerId, options: given }, call) {
      const task = await reach(call, containerId);
      const options = given && withoutV1(given);
      const path = (options && unpack(options, RUNC_CHECKPOINT_OPTIONS, CheckpointOptions))?.imagePath ?? "";
      if (path === "") {
        throw new TtrpcError(
          Code.UNIMPLEMENTED,
          "checkpoint to an image is not implemented: name a directory (image_path in the options; ctr tasks checkpoint --image-path DIR)",
        );
      }
      await task.shim.checkpoint({ id: containerId, path, options }, { signal: call.signal });
      return { descriptors: [] };
    },

    async update({ containerId, resources, annotations }, call) {
      await (await reach(call, containerId)).shim.update(
        { id: containerId, resources, annotations },
        { signal: call.signal },
      );
      return {};
    },

    async metrics({ filters }, call) {
      const matches = parseFilters(filters);
      const chosen = tasks.list(call.namespace).filter((task) => matches(([name]) => fieldOf(task, name)));
      const asked = chosen.map(async (task): Promise<Metric | undefined> => {
        const timestamp = timestampFromNs(nodeClock.realtimeNs());
        try {
          const timeoutMs = timeouts.shimCall;
          const { stats } = await task.ask((shim) => shim.stats({ id: task.id }, { timeoutMs }), timeoutMs);
          return { timestamp, id: task.id, data: stats };
        } catch (error) {
          log.debug({ namespace: task.namespace, id: task.id, error: errorText(error) }, "no metrics");
          return undefined;
        }
      });
      return { metrics: (await Promise.all(asked)).filter((metric) => metric !== undefined) };
    },

    async wait({ containerId, execId }, call) {
      const { exitStatus, exitedAt } = await find(call, containerId).wait(execId, call.signal);
      return { exitStatus, exitedAt };
    },
  };
}

function demandExecId(execId: string): void {
  if (execId === "") throw new TtrpcError(Code.INVALID_ARGUMENT, "exec id cannot be empty");
}

function describe(task: Task, execId: string, state: StateResponse): Process {
  const { pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAt } = state;
  const id = execId === "" ? task.id : execId;
  return { containerId: task.id, id, pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAt };
}

/** One whose shim does not answer: callers go on with what they want of it, as with containerd. */
function describeSilent(task: Task, execId: string): Process {
  const [id, pid] = execId === "" ? [task.id, task.pid] : [execId, 0];
  const none = { stdin: "", stdout: "", stderr: "", terminal: false, exitStatus: 0 };
  return { containerId: task.id, id, pid, status: Status.UNKNOWN, ...none };
}

function fieldOf(task: Task, name: string | undefined): string | undefined {
  if (name === "id") return task.id;
  return name === "namespace" ? task.namespace : undefined;
}
