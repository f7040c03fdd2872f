// Clients of containerd 1.x send the options of its first runtime (containerd.linux.runc) to every runtime that is not called io.containerd.runc: `ctr run
// --no-pivot` and `--uidmap` do. The fields are those of the second one's, which we know, under other numbers.
import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { holds, RUNC_CHECKPOINT_OPTIONS, RUNC_OPTIONS } from "./any.ts";
import type { Any } from "./generated/google/protobuf/any.ts";

/** The numbers of CreateOptions' fields, and of the same in containerd.runc.v1.Options. What is left out says how to checkpoint, and is used by nobody. */
const CREATE: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [8, 2],
  [9, 3],
  [10, 4],
  [11, 5],
  [12, 11],
  [13, 10],
]);

/** The same for CheckpointOptions. */
const CHECKPOINT: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [2, 2],
  [3, 3],
  [4, 4],
  [5, 5],
  [6, 6],
  [7, 7],
  [8, 9],
  [9, 8],
]);

/** The first runtime's options as the second one's; anything else as it is. Throws if the bytes are malformed. */
export function withoutV1(any: Any): Any {
  if (holds(any, "containerd.linux.runc.CreateOptions")) {
    return { typeUrl: RUNC_OPTIONS, value: renumbered(any.value, CREATE) };
  }
  if (holds(any, "containerd.linux.runc.CheckpointOptions")) {
    return { typeUrl: RUNC_CHECKPOINT_OPTIONS, value: renumbered(any.value, CHECKPOINT) };
  }
  return any;
}

function renumbered(message: Uint8Array, numbers: ReadonlyMap<number, number>): Uint8Array {
  const reader = new BinaryReader(message);
  const writer = new BinaryWriter();
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    const begin = reader.pos;
    reader.skip(type, number);
    const other = numbers.get(number);
    if (other !== undefined) writer.tag(other, type).raw(message.subarray(begin, reader.pos));
  }
  return writer.finish();
}
