// What of containerd we do not have: images, their content and snapshots. Lists are empty, nothing is found, and all else is UNIMPLEMENTED.
// No message of these services is needed for that: an empty list has no fields, and requests are not read.
import { Empty } from "../../api/generated/google/protobuf/empty.ts";
import type { MethodDefinition, ServiceDefinition } from "../../ttrpc/definition.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import type { Call, GrpcServer } from "../grpc-server.ts";

interface AbsentService {
  readonly fullName: string;
  readonly what: string;
  readonly emptyLists: readonly string[];
  readonly emptyStreams: readonly string[];
  readonly lookups: readonly string[];
}

const SERVICES: readonly AbsentService[] = [
  {
    fullName: "containerd.services.images.v1.Images",
    what: "image",
    emptyLists: ["List"],
    emptyStreams: [],
    lookups: ["Get", "Delete"],
  },
  {
    fullName: "containerd.services.content.v1.Content",
    what: "content",
    emptyLists: ["ListStatuses"],
    emptyStreams: ["List"],
    lookups: ["Info", "Read", "Status", "Delete", "Abort"],
  },
  {
    fullName: "containerd.services.snapshots.v1.Snapshots",
    what: "snapshot",
    emptyLists: [],
    emptyStreams: ["List"],
    lookups: ["Stat", "Mounts", "Usage", "Remove"],
  },
];

/** Registers them all. */
export function registerAbsent(server: GrpcServer): void {
  for (const { fullName, what, emptyLists, emptyStreams, lookups } of SERVICES) {
    const methods: Record<string, MethodDefinition> = {};
    const handlers: Record<string, (request: unknown, call: Call) => never> = {};
    const add = (name: string, streams: boolean, handler: () => unknown): void => {
      methods[name] = {
        name,
        requestType: Empty,
        requestStream: false,
        responseType: Empty,
        responseStream: streams,
      };
      handlers[name] = handler as () => never;
    };
    for (const name of emptyLists) add(name, false, () => ({}));
    for (const name of emptyStreams) add(name, true, async function* () {});
    for (const name of lookups) {
      add(name, name === "Read", () => {
        throw new TtrpcError(Code.NOT_FOUND, `holdfastd keeps no ${what}s: not found`);
      });
    }
    const definition: ServiceDefinition = { fullName, methods };
    server.register(definition, handlers);
  }
}
