// The containers service: records only, nothing runs because of them (containerd's metadata/containers.go).
import { CONTAINER_CREATE, CONTAINER_DELETE, CONTAINER_UPDATE } from "../../api/event-types.ts";
import { ContainerCreate, ContainerDelete, ContainerUpdate } from "../../api/generated/container_events.ts";
import type { Container, ContainersDefinition } from "../../api/generated/containers.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import { topicOf } from "../../events/topics.ts";
import { nodeClock } from "../../platform/node.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Histories } from "../records/history.ts";
import type { Store } from "../records/store.ts";
import type { Exchange } from "../server/exchange.ts";
import { parseFilters } from "../server/filters.ts";
import type { Handlers } from "../server/grpc-server.ts";
import { validateIdentifier, validateLabels } from "../server/identifiers.ts";
import { withoutEmpty } from "./labels.ts";
import { ensureNamespace } from "./namespaces.ts";

const created = topicOf("/containers/create", CONTAINER_CREATE, ContainerCreate);
const updated = topicOf("/containers/update", CONTAINER_UPDATE, ContainerUpdate);
const deleted = topicOf("/containers/delete", CONTAINER_DELETE, ContainerDelete);

export interface ContainersContext {
  readonly store: Store;
  readonly exchange: Exchange;
  readonly histories: Histories;
  /** Called when a container no longer keeps its snapshot, and what else it names. */
  readonly released: () => void;
}

/** `noteCreated` is called with each that has been put on record. */
export function containersService(
  { store, exchange, histories, released }: ContainersContext,
  noteCreated: (namespace: string, id: string) => void,
): Handlers<ContainersDefinition> {
  const { containers } = store;
  const select = (namespace: string, filters: readonly string[]): Container[] => {
    const matches = parseFilters(filters);
    return containers.list(namespace).filter((container) => matches((path) => fieldOf(container, path)));
  };
  return {
    get: ({ id }, call) => ({ container: containers.get(call.namespace, id) }),
    list: ({ filters }, call) => ({ containers: select(call.namespace, filters) }),

    async *listStream({ filters }, call) {
      for (const container of select(call.namespace, filters)) yield { container };
    },

    async create({ container }, call) {
      const { namespace } = call;
      const now = timestampFromNs(nodeClock.realtimeNs());
      const wanted = given(container);
      const labels = withoutEmpty(wanted.labels);
      const record: Container = { ...wanted, labels, createdAt: now, updatedAt: now };
      validate(record);
      await ensureNamespace(store, namespace);
      await containers.insert(namespace, record.id, record);
      histories.open(namespace, record.id);
      const { id, image, runtime } = record;
      exchange.publish(namespace, created, { id, image, runtime });
      noteCreated(namespace, id);
      return { container: record };
    },

    async update({ container, updateMask }, call) {
      const { namespace } = call;
      const wanted = given(container);
      if (wanted.id === "")
        throw new TtrpcError(Code.INVALID_ARGUMENT, "must specify a container id: invalid argument");
      const record = await containers.update(namespace, wanted.id, (before) => {
        const after = merge(before, wanted, updateMask ?? []);
        validate(after);
        return { ...after, updatedAt: timestampFromNs(nodeClock.realtimeNs()) };
      });
      const { id, image, labels, snapshotKey } = record;
      exchange.publish(namespace, updated, { id, image, labels, snapshotKey });
      return { container: record };
    },

    async delete({ id }, call) {
      await removeContainer({ store, exchange, released }, call.namespace, id);
      histories.close(call.namespace, id);
      return {};
    },
  };
}

/** Removes the record of a container, and publishes that; its history is the caller's. Rejects with NOT_FOUND. */
export async function removeContainer(
  { store, exchange, released }: Omit<ContainersContext, "histories">,
  namespace: string,
  id: string,
): Promise<void> {
  const { snapshotKey } = await store.containers.remove(namespace, id);
  exchange.publish(namespace, deleted, { id });
  if (snapshotKey !== "") released();
}

function given(container: Container | undefined): Container {
  if (container === undefined) throw new TtrpcError(Code.INVALID_ARGUMENT, "container must be given");
  return container;
}

function validate({ id, labels, extensions, runtime, spec, snapshotter, snapshotKey }: Container): void {
  const demand = (holds: boolean, text: string): void => {
    if (!holds) throw new TtrpcError(Code.INVALID_ARGUMENT, `container ${text}: invalid argument`);
  };
  validateIdentifier("container.ID", id);
  demand(!("" in extensions), "extension keys must not be zero-length");
  validateLabels("container.Labels", labels);
  demand((runtime?.name ?? "") !== "", "runtime name must be set");
  demand(spec !== undefined, "spec must be set");
  demand(snapshotKey === "" || snapshotter !== "", "snapshotter must be set if its snapshot key is set");
}

/** Field masks: "labels.NAME" and "extensions.NAME" for one entry; none at all replaces everything that may change. */
function merge(before: Container, wanted: Container, mask: readonly string[]): Container {
  let after = before;
  if (mask.length === 0) demandUnchanged(before, wanted);
  const paths = mask.length === 0 ? ["labels", "spec", "extensions", "image", "snapshotkey"] : mask;
  for (const path of paths) after = { ...after, ...change(after, wanted, path) };
  return after;
}

function change(after: Container, wanted: Container, path: string): Partial<Container> {
  if (path.startsWith("labels.")) {
    const key = path.slice("labels.".length);
    return { labels: { ...after.labels, [key]: wanted.labels[key] ?? "" } };
  }
  if (path.startsWith("extensions.")) {
    const key = path.slice("extensions.".length);
    const extension = wanted.extensions[key];
    if (extension === undefined)
      throw new TtrpcError(Code.INVALID_ARGUMENT, `${path} is to be updated but not given`);
    return { extensions: { ...after.extensions, [key]: extension } };
  }
  switch (path) {
    case "labels":
      return { labels: wanted.labels };
    case "spec":
      return { spec: wanted.spec };
    case "extensions":
      return { extensions: wanted.extensions };
    case "image":
      return { image: wanted.image };
    case "snapshotkey":
    case "snapshot_key":
      return { snapshotKey: wanted.snapshotKey };
    default:
      throw new TtrpcError(
        Code.INVALID_ARGUMENT,
        `cannot update ${JSON.stringify(path)} field on ${JSON.stringify(after.id)}: invalid argument`,
      );
  }
}

function demandUnchanged(before: Container, wanted: Container): void {
  if (before.snapshotter !== wanted.snapshotter) {
    throw new TtrpcError(Code.INVALID_ARGUMENT, "container.Snapshotter field is immutable: invalid argument");
  }
  if (before.runtime?.name !== wanted.runtime?.name) {
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      "container.Runtime.Name field is immutable: invalid argument",
    );
  }
}

/** What filters know of a container (containerd's metadata/adaptors.go). */
function fieldOf({ id, image, labels, runtime }: Container, path: readonly string[]): string | undefined {
  const [first, ...rest] = path;
  if (first === "id") return id === "" ? undefined : id;
  if (first === "image") return image === "" ? undefined : image;
  if (first === "runtime") return rest[0] === "name" ? runtime?.name : undefined;
  if (first === "labels") return labels[rest.join(".")];
  return undefined;
}
