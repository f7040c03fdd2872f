// The leases service: a lease keeps what is on it from being collected, until it is deleted or has expired. Clients take one around their work.
import { randomBytes } from "node:crypto";
import type { Lease, LeasesDefinition, Resource } from "../../api/generated/leases.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Images } from "../images/images.ts";
import type { LeaseRecord, Store } from "../records/store.ts";
import { parseFilters } from "../server/filters.ts";
import type { Handlers } from "../server/grpc-server.ts";
import { validateLabels } from "../server/identifiers.ts";
import { nowText } from "./labels.ts";
import { ensureNamespace } from "./namespaces.ts";

export function leasesService(store: Store, images: Images): Handlers<LeasesDefinition> {
  const { leases } = store;
  return {
    async create({ id: wanted, labels }, call) {
      const { namespace } = call;
      const id = wanted === "" ? randomBytes(16).toString("hex") : wanted;
      validateLabels("lease.Labels", labels);
      await ensureNamespace(store, namespace);
      const record = { createdAt: nowText(), labels, resources: [] };
      await leases.insert(namespace, id, record);
      return { lease: describe(id, record) };
    },

    async delete({ id, sync }, call) {
      await leases.remove(call.namespace, id);
      if (sync) await images.collect();
      else images.collectSoon();
      return {};
    },

    list({ filters }, call) {
      const { namespace } = call;
      const matches = parseFilters(filters);
      const all = leases.ids(namespace).map((id) => describe(id, leases.get(namespace, id)));
      return { leases: all.filter((lease) => matches((path) => fieldOf(lease, path))) };
    },

    async addResource({ id, resource }, call) {
      const { id: key, type } = given(resource);
      await leases.update(call.namespace, id, (lease) => ({
        ...lease,
        resources: [...without(lease, { id: key, type }), { id: key, type }],
      }));
      return {};
    },

    async deleteResource({ id, resource }, call) {
      const wanted = given(resource);
      await leases.update(call.namespace, id, (lease) => ({ ...lease, resources: without(lease, wanted) }));
      return {};
    },

    listResources: ({ id }, call) => ({ resources: [...leases.get(call.namespace, id).resources] }),
  };
}

function describe(id: string, { createdAt, labels }: LeaseRecord): Lease {
  return { id, createdAt: timestampFromNs(BigInt(createdAt)), labels };
}

function given(resource: Resource | undefined): Resource {
  if (resource === undefined || resource.id === "" || resource.type === "") {
    throw new TtrpcError(
      Code.INVALID_ARGUMENT,
      "lease resource must have an id and a type: invalid argument",
    );
  }
  return resource;
}

function without({ resources }: LeaseRecord, { id, type }: Resource): LeaseRecord["resources"] {
  return resources.filter((each) => each.id !== id || each.type !== type);
}

function fieldOf({ id, labels }: Lease, [first, ...rest]: readonly string[]): string | undefined {
  if (first === "id") return id;
  return first === "labels" ? labels[rest.join(".")] : undefined;
}
