// A service with each of the four kinds of method, in the shape that ts-proto generates, for the tests of src/ttrpc.

import { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import type { MessageCodec } from "../../src/ttrpc/codec.ts";

export interface Message {
  text: string;
  data: Uint8Array;
}

export const Message: MessageCodec<Message> = {
  encode(message: Message, writer: BinaryWriter = new BinaryWriter()): BinaryWriter {
    if (message.text !== "") writer.uint32(10).string(message.text);
    if (message.data.length > 0) writer.uint32(18).bytes(message.data);
    return writer;
  },
  decode(input: BinaryReader | Uint8Array, length?: number): Message {
    const reader = input instanceof BinaryReader ? input : new BinaryReader(input);
    const end = length === undefined ? reader.len : reader.pos + length;
    const message: Message = { text: "", data: new Uint8Array(0) };
    while (reader.pos < end) {
      const [field, wireType] = reader.tag();
      if (field === 1) message.text = reader.string();
      else if (field === 2) message.data = reader.bytes();
      else reader.skip(wireType, field);
    }
    return message;
  },
};

export const EchoDefinition = {
  name: "Echo",
  fullName: "test.v1.Echo",
  methods: {
    unary: {
      name: "Unary",
      requestType: Message as typeof Message,
      requestStream: false,
      responseType: Message as typeof Message,
      responseStream: false,
      options: {},
    },
    down: {
      name: "Down",
      requestType: Message as typeof Message,
      requestStream: false,
      responseType: Message as typeof Message,
      responseStream: true,
      options: {},
    },
    up: {
      name: "Up",
      requestType: Message as typeof Message,
      requestStream: true,
      responseType: Message as typeof Message,
      responseStream: false,
      options: {},
    },
    both: {
      name: "Both",
      requestType: Message as typeof Message,
      requestStream: true,
      responseType: Message as typeof Message,
      responseStream: true,
      options: {},
    },
  },
} as const;

export function text(value: string): Message {
  return { text: value, data: new Uint8Array(0) };
}

export function bytes(size: number): Message {
  return { text: "", data: new Uint8Array(size).fill(7) };
}
