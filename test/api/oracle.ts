// Our .proto files as protobufjs understands them: an implementation that shares no code with ours.

import { join } from "node:path";
import protobuf from "protobufjs";

export const PROTO: string = join(import.meta.dirname, "../../src/api/proto");

/** Loads files by path, resolving their imports with `resolve`, and returns the tree of all that they declare. Field names stay as written. */
export function load(files: readonly string[], resolve: (target: string) => string | null): protobuf.Root {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => resolve(target);
  root.loadSync([...files], { keepCase: true });
  root.resolveAll();
  return root;
}

export function oracle(...files: string[]): protobuf.Root {
  return load(files, (target) => (target.startsWith("google/protobuf/") ? target : join(PROTO, target)));
}

export function allMessages(namespace: protobuf.NamespaceBase): protobuf.Type[] {
  return namespace.nestedArray.flatMap((nested) => {
    if (nested instanceof protobuf.Type) return [nested, ...allMessages(nested)];
    return nested instanceof protobuf.Namespace ? allMessages(nested) : [];
  });
}

/** What the wire sees of a message: "label type name" by field number. */
export function shape(type: protobuf.Type): Record<string, string> {
  const fields = type.fieldsArray.map((field): [string, string] => {
    const label = field.map ? "map " : field.repeated ? "repeated " : "";
    const key = field instanceof protobuf.MapField ? `${field.keyType} ` : "";
    const value = field.resolvedType?.fullName.slice(1) ?? field.type;
    return [String(field.id), `${label}${key}${value} ${field.name}`];
  });
  return Object.fromEntries(fields);
}
