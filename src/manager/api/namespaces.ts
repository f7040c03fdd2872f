// The namespaces service, as containerd has it (metadata/namespaces.go, services/namespaces).
import { NAMESPACE_CREATE, NAMESPACE_DELETE, NAMESPACE_UPDATE } from "../../api/event-types.ts";
import { NamespaceCreate, NamespaceDelete, NamespaceUpdate } from "../../api/generated/namespace_events.ts";
import type { Namespace, NamespacesDefinition } from "../../api/generated/namespaces.ts";
import { topicOf } from "../../events/topics.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Store } from "../records/store.ts";
import type { Exchange } from "../server/exchange.ts";
import type { Handlers } from "../server/grpc-server.ts";
import { validateIdentifier, validateLabels } from "../server/identifiers.ts";
import { changeLabels, withoutEmpty } from "./labels.ts";

const created = topicOf("/namespaces/create", NAMESPACE_CREATE, NamespaceCreate);
const updated = topicOf("/namespaces/update", NAMESPACE_UPDATE, NamespaceUpdate);
const deleted = topicOf("/namespaces/delete", NAMESPACE_DELETE, NamespaceDelete);

/** The one under which all namespaces are kept. */
const ALL = "";

export function namespacesService(store: Store, exchange: Exchange): Handlers<NamespacesDefinition> {
  const { namespaces } = store;
  const labelsOf = (name: string): Record<string, string> => namespaces.find(ALL, name)?.labels ?? {};
  const describe = (name: string): Namespace => ({ name, labels: labelsOf(name) });
  return {
    // One that does not exist has no labels: clients ask before they make it.
    get: ({ name }) => ({ namespace: describe(name) }),
    list: () => ({ namespaces: namespaces.ids(ALL).sort().map(describe) }),

    async create({ namespace }) {
      const { name, labels } = given(namespace);
      validateIdentifier("", name);
      validateLabels("namespace.Labels", labels);
      await namespaces.insert(ALL, name, { labels: withoutEmpty(labels) });
      exchange.publish(name, created, { name, labels });
      return { namespace: { name, labels } };
    },

    async update({ namespace, updateMask }) {
      const { name, labels } = given(namespace);
      validateIdentifier("", name);
      await ensureNamespace(store, name);
      const record = await namespaces.update(ALL, name, (before) => ({
        labels: changeLabels("namespace", before.labels, labels, updateMask ?? []),
      }));
      exchange.publish(name, updated, { name, labels: record.labels });
      return { namespace: { name, labels: record.labels } };
    },

    async delete({ name }) {
      namespaces.get(ALL, name);
      const left = leftIn(store, name);
      if (left.length > 0) {
        const text = `namespace ${JSON.stringify(name)} must be empty, but it still has ${left.join(", ")}: failed precondition`;
        throw new TtrpcError(Code.FAILED_PRECONDITION, text);
      }
      // They hold nothing any more.
      for (const id of store.leases.ids(name)) await store.leases.remove(name, id);
      await namespaces.remove(ALL, name);
      // To the namespace's own subscribers, who are there until the last.
      exchange.publish(name, deleted, { name });
      return {};
    },
  };
}

/** What keeps a namespace from being deleted, in containerd's words and order. */
function leftIn({ images, contents, containers, snapshots }: Store, name: string): string[] {
  const kinds = { images, blobs: contents, containers };
  const snapshotters = new Set(snapshots.ids(name).map((id) => id.slice(0, id.indexOf("/"))));
  return [
    ...Object.entries(kinds)
      .filter(([, table]) => table.ids(name).length > 0)
      .map(([kind]) => kind),
    ...[...snapshotters].map((each) => `snapshots on ${JSON.stringify(each)} snapshotter`),
  ];
}

/** Makes a namespace that somebody puts something into, unless it is there. */
export async function ensureNamespace({ namespaces }: Store, name: string): Promise<void> {
  if (namespaces.find(ALL, name) !== undefined) return;
  try {
    await namespaces.insert(ALL, name, { labels: {} });
  } catch (error) {
    if (!(error instanceof TtrpcError && error.code === Code.ALREADY_EXISTS)) throw error;
  }
}

function given(namespace: Namespace | undefined): Namespace {
  if (namespace === undefined) throw new TtrpcError(Code.INVALID_ARGUMENT, "namespace must be given");
  return namespace;
}
