// A gRPC client of containerd's CRI socket: what a kubelet is to containerd. Made from cri.proto; used by kubelet.ts.
import { join } from "node:path";
import { Client, credentials } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import { patience } from "../harness/eventually.ts";

/** A message as protobufjs makes it: fields in camel case, numbers for 64 bits, names for enums. */
export type Message = Readonly<Record<string, unknown>>;

const proto = protobuf.loadSync(join(import.meta.dirname, "cri.proto"));
const service = proto.lookupService("runtime.v1.RuntimeService");

export class CriClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(`unix://${address}`, credentials.createInsecure());
  }

  /** Calls a method; rejects with the status of a refusal. */
  call<T>(method: string, request: Message = {}): Promise<T> {
    const definition = service.methods[method];
    if (definition === undefined) throw new Error(`cri.proto has no ${method}`);
    const input = proto.lookupType(`runtime.v1.${definition.requestType}`);
    const output = proto.lookupType(`runtime.v1.${definition.responseType}`);
    return new Promise((done, fail) => {
      this.#client.makeUnaryRequest<Message, T>(
        `/runtime.v1.RuntimeService/${method}`,
        (value) => Buffer.from(input.encode(input.fromObject(value)).finish()),
        (bytes) =>
          output.toObject(output.decode(bytes), { longs: Number, enums: String, defaults: true }) as T,
        request,
        { deadline: Date.now() + patience(120_000) },
        (error, response) => {
          if (error) fail(error);
          else if (response === undefined) fail(new Error(`${method}: no response`));
          else done(response);
        },
      );
    });
  }

  close(): void {
    this.#client.close();
  }
}
