// The leases service: a lease keeps what is on it from being collected, until it is deleted or has expired. Clients take one around their work.
import { randomBytes } from "node:crypto";
import type { Lease, LeasesDefinition, Resource } from "../../api/generated/leases.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import { hexOf } from "../../images/digest.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { INGEST_TYPE } from "../images/collection.ts";
import { type Images, without } from "../images/images.ts";
import type { LeaseRecord, Store } from "../records/store.ts";
import { parseFilters } from "../server/filters.ts";
import type { Handlers } from "../server/grpc-server.ts";
import { validateLabels } from "../server/identifiers.ts";
import { nowText, withoutEmpty } from "./labels.ts";
import { ensureNamespace } from "./namespaces.ts";

export function leasesService(store: Store, images: Images): Handlers<LeasesDefinition> {
  const { leases } = store;
  return {
    async create({ id: wanted, labels }, call) {
      const { namespace } = call;
      const id = wanted === "" ? randomBytes(16).toString("hex") : wanted;
      validateLabels("lease.Labels", labels);
      await ensureNamespace(store, namespace);
      const record = { createdAt: nowText(), labels: withoutEmpty(labels), resources: [] };
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
        resources: [...without(lease.resources, { id: key, type }), { id: key, type }],
      }));
      return {};
    },

    async deleteResource({ id, resource }, call) {
      const wanted = given(resource);
      await leases.update(call.namespace, id, (lease) => ({
        ...lease,
        resources: without(lease.resources, wanted),
      }));
      return {};
    },

    listResources({ id }, call) {
      const { resources } = leases.get(call.namespace, id);
      const sortKey = (each: Resource): string => `${each.type}\0${each.id}`;
      return { resources: [...resources].sort((a, b) => (sortKey(a) < sortKey(b) ? -1 : 1)) };
    },
  };
}

function describe(id: string, { createdAt, labels }: LeaseRecord): Lease {
  return { id, createdAt: timestampFromNs(BigInt(createdAt)), labels };
}

/** Throws INVALID_ARGUMENT and UNIMPLEMENTED for what no lease can keep. */
function given(resource: Resource | undefined): Resource {
  const { id = "", type = "" } = resource ?? {};
  const refuse = (code: number, text: string): never => {
    throw new TtrpcError(code, text);
  };
  const [kind = "", ...rest] = type.split("/");
  const isKnown = ["content", INGEST_TYPE, "snapshots"].includes(kind);
  if (!isKnown) refuse(Code.UNIMPLEMENTED, `resource type ${type} not supported yet: not implemented`);
  if (kind === "snapshots" && (rest.length !== 1 || rest[0] === ""))
    refuse(Code.INVALID_ARGUMENT, `invalid snapshot resource type ${type}: invalid argument`);
  if (kind !== "snapshots" && rest.length > 0)
    refuse(Code.INVALID_ARGUMENT, `invalid resource type ${type}: invalid argument`);
  if (kind === "content") hexOf(id);
  if (id === "") refuse(Code.INVALID_ARGUMENT, "lease resource must have an id: invalid argument");
  return { id, type };
}

function fieldOf({ id, labels }: Lease, [first, ...rest]: readonly string[]): string | undefined {
  if (first === "id") return id;
  return first === "labels" ? labels[rest.join(".")] : undefined;
}
