// Writes the Metrics messages of src/api/proto/cgroups_v1.proto and cgroups_v2.proto straight to the wire. They are mostly rows of
// numbers whose fields are numbered in order, so this is a tenth of the code that generated encoders and the objects for them would be.

import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { RdmaLine } from "./files.ts";

const VARINT = 0;
const LENGTH_DELIMITED = 2;
/** holdfast_output of both Metrics: far above what containerd will ever number. */
const OUTPUT_FIELD = 1000;

export type Figure = bigint | undefined;

/** Writes the figures as uint64 fields numbered `first`, `first` + 1 and so on. Those that are 0 or unknown stay away, as proto3 asks. */
export function writeFigures(writer: BinaryWriter, first: number, figures: readonly Figure[]): void {
  figures.forEach((figure, index) => {
    if (figure) writer.tag(first + index, VARINT).uint64(figure);
  });
}

export function writeText(writer: BinaryWriter, field: number, text: string): void {
  if (text !== "") writer.tag(field, LENGTH_DELIMITED).string(text);
}

/** Writes a message inside; empty ones too, since being there tells that the controller is. */
export function writeMessage(
  writer: BinaryWriter,
  field: number,
  write: (inner: BinaryWriter) => void,
): void {
  writer.tag(field, LENGTH_DELIMITED).fork();
  write(writer);
  writer.join();
}

/** Writes a repeated uint64 field, packed. */
export function writePacked(writer: BinaryWriter, field: number, figures: readonly bigint[]): void {
  if (figures.length === 0) return;
  writeMessage(writer, field, (inner) => {
    for (const figure of figures) inner.uint64(figure);
  });
}

/** RdmaStat, alike in both versions: current = 1, limit = 2. */
export function writeRdma(writer: BinaryWriter, field: number, current: RdmaLine[], limit: RdmaLine[]): void {
  writeMessage(writer, field, (stat) => {
    [current, limit].forEach((devices, index) => {
      for (const { device, handles, objects } of devices) {
        writeMessage(stat, index + 1, (entry) => {
          writeText(entry, 1, device);
          writeFigures(entry, 2, [BigInt(handles), BigInt(objects)]);
        });
      }
    });
  });
}

/** Adds what is known of a container's output to its encoded Metrics, as the field holdfast_output. */
export function withOutput(metrics: Uint8Array, dropped: bigint, waiting: bigint): Uint8Array {
  const output = encodeMessage((writer) =>
    writeMessage(writer, OUTPUT_FIELD, (figures) => writeFigures(figures, 1, [dropped, waiting])),
  );
  const joined = new Uint8Array(metrics.length + output.length);
  joined.set(metrics);
  joined.set(output, metrics.length);
  return joined;
}

export function encodeMessage(write: (writer: BinaryWriter) => void): Uint8Array {
  const writer = new BinaryWriter();
  write(writer);
  return writer.finish();
}
