// A client of the transfer service: archives in and out over streams, as containerd's own client does it.
import { randomBytes } from "node:crypto";
import { type Codec, pack, unpack } from "../../src/api/any.ts";
import type { Any } from "../../src/api/generated/google/protobuf/any.ts";
import { StreamInit, StreamingDefinition } from "../../src/api/generated/streaming.ts";
import { TransferDefinition } from "../../src/api/generated/transfer.ts";
import {
  Data,
  ImageExportStream,
  ImageImportStream,
  ImageStore,
  Progress,
  WindowUpdate,
} from "../../src/api/generated/transfer_types.ts";
import type { BidiStream, DaemonClient } from "../../src/cli/containers/daemon-client.ts";
import { EMPTY_STORE } from "../../src/cli/images/transfer.ts";

const TYPES = "containerd.types.transfer.";

export const end = <T>(name: string, codec: Pick<Codec<T>, "encode">, message: T): Any =>
  pack(`${TYPES}${name}`, codec, message);

export const store = (fields: Partial<ImageStore>): Any =>
  end("ImageStore", ImageStore, { ...EMPTY_STORE, ...fields });

export class TransferClient {
  readonly #daemon: DaemonClient;
  readonly #streams: BidiStream[] = [];

  constructor(daemon: DaemonClient) {
    this.#daemon = daemon;
  }

  async open(): Promise<{ id: string; stream: BidiStream }> {
    const id = randomBytes(8).toString("hex");
    const stream = this.#daemon.bidi(StreamingDefinition, StreamingDefinition.methods.stream);
    this.#streams.push(stream);
    stream.write(pack("containerd.services.streaming.v1.StreamInit", StreamInit, { id }));
    await stream.next();
    return { id, stream };
  }

  /** Returns what was said meanwhile. Rejects with the call's error. */
  async transfer(source: Any, destination: Any): Promise<string[]> {
    const { id, stream } = await this.open();
    const events: string[] = [];
    const heard = (async () => {
      for (;;) {
        const message = (await stream.next().catch(() => undefined)) as Any | undefined;
        if (message === undefined) return;
        const { event = "", name = "" } = unpack(message, `${TYPES}Progress`, Progress) ?? {};
        events.push(`${event} ${name}`.trim());
      }
    })();
    const options = { progressStream: id };
    await this.#daemon.service(TransferDefinition).transfer({ source, destination, options });
    await heard;
    return events;
  }

  /** Sends `archive` in pieces of at most `piece` bytes, as the daemon takes it. */
  async import(archive: Buffer, to: Partial<ImageStore>, piece: number = 32 * 1024): Promise<string[]> {
    const { id, stream } = await this.open();
    void (async () => {
      let window = 0;
      for (let at = 0; at < archive.length; ) {
        while (window <= 0) {
          const message = (await stream.next()) as Any | undefined;
          if (message === undefined) return;
          window += unpack(message, `${TYPES}WindowUpdate`, WindowUpdate)?.update ?? 0;
        }
        const data = archive.subarray(at, at + Math.min(piece, window));
        stream.write(pack(`${TYPES}Data`, Data, { data }));
        window -= data.length;
        at += data.length;
      }
      stream.close();
    })().catch(() => {});
    const source = end("ImageImportStream", ImageImportStream, {
      stream: id,
      mediaType: "",
      forceCompress: false,
    });
    return this.transfer(source, store(to));
  }

  async export(from: Partial<ImageStore>, options: Partial<ImageExportStream> = {}): Promise<Buffer> {
    const { id, stream } = await this.open();
    const parts: Uint8Array[] = [];
    const received = (async () => {
      for (let window = 0; ; ) {
        if (window < 65_536) {
          stream.write(pack(`${TYPES}WindowUpdate`, WindowUpdate, { update: 65_536 }));
          window += 65_536;
        }
        const message = (await stream.next().catch(() => undefined)) as Any | undefined;
        if (message === undefined) return;
        const data = unpack(message, `${TYPES}Data`, Data)?.data ?? new Uint8Array(0);
        parts.push(data);
        window -= data.length;
      }
    })();
    const none = {
      platforms: [],
      allPlatforms: false,
      skipDockerManifest: false,
      skipNonDistributable: false,
    };
    const to = end("ImageExportStream", ImageExportStream, {
      stream: id,
      mediaType: "",
      ...none,
      ...options,
    });
    await this.transfer(store(from), to);
    // All of it is there when the call is answered.
    const whole = Buffer.concat(parts);
    stream.cancel();
    await received;
    return whole;
  }

  close(): void {
    for (const stream of this.#streams) stream.cancel();
  }
}
