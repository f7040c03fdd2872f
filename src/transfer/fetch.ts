// One blob from a registry into the daemon's content: what is there is taken, what is half there goes on, what is wrong is not kept.
import { setTimeout as sleep } from "node:timers/promises";
import { WriteAction } from "../api/generated/content.ts";
import type { Descriptor } from "../registry/descriptor.ts";
import { RegistryError } from "../registry/failure.ts";
import type { BlobSink, Pulls } from "../registry/pulls.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";
import { type Job, refKey } from "./progress.ts";
import { type ContentWrite, codeOf, type ImageServices } from "./services.ts";

/** Bytes of one message of a write. */
const CHUNK = 512 * 1024;
const FIRST_WAIT_MS = 20;
const MAX_WAIT_MS = 500;

export interface Fetching {
  readonly services: ImageServices;
  readonly pulls: Pulls;
  readonly signal: AbortSignal;
  /** Of what is new. */
  readonly labels: Readonly<Record<string, string>>;
}

/** Whether it was there already. Rejects with FAILED_PRECONDITION for what is not what the descriptor says: nothing of that is kept. */
export async function fetchBlob(
  { services, pulls, signal, labels }: Fetching,
  descriptor: Descriptor,
  job: Job,
): Promise<"fetched" | "there"> {
  for (let isAnew = false; ; isAnew = true) {
    const sink = await openSink(services, descriptor, signal, job);
    if (sink === undefined) return "there";
    try {
      if (isAnew) await sink.restart();
      const resumed = sink.offset > 0;
      const [first] = await pulls.fetch(descriptor, sink);
      const { outcome, wrong } = await sink.commit(labels);
      if (outcome !== undefined) return outcome;
      // Of what is from here and from there, nobody knows which is wrong: the rest of it goes, and whoever gave its beginning.
      if (!resumed && first !== undefined) pulls.distrust(first, descriptor, wrong);
    } catch (error) {
      await sink.giveUp(error);
      throw error;
    }
  }
}

/** undefined if it is there already. Waits for whoever else writes it. */
async function openSink(
  services: ImageServices,
  descriptor: Descriptor,
  signal: AbortSignal,
  job: Job,
): Promise<ContentSink | undefined> {
  const ref = refKey(descriptor);
  const { digest, size } = descriptor;
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(MAX_WAIT_MS, waitMs * 2)) {
    signal.throwIfAborted();
    const stream = services.writeContent();
    try {
      const { offset } = await stream.send({
        action: WriteAction.STAT,
        ref,
        offset: 0n,
        total: BigInt(size),
        expected: digest,
      });
      return new ContentSink(services, stream, { ref, descriptor, offset: Number(offset), job });
    } catch (error) {
      await stream.end();
      if (codeOf(error) === Code.ALREADY_EXISTS) return undefined;
      if (codeOf(error) !== Code.UNAVAILABLE || !/locked/.test(String(error))) throw error;
      await sleep(waitMs, undefined, { signal });
    }
  }
}

interface SinkState {
  readonly ref: string;
  readonly descriptor: Descriptor;
  readonly offset: number;
  readonly job: Job;
}

class ContentSink implements BlobSink {
  readonly #services: ImageServices;
  readonly #stream: ContentWrite;
  readonly #ref: string;
  readonly #descriptor: Descriptor;
  readonly #job: Job;
  /** Of what the daemon has. */
  #written: number;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;

  constructor(services: ImageServices, stream: ContentWrite, { ref, descriptor, offset, job }: SinkState) {
    this.#services = services;
    this.#stream = stream;
    this.#ref = ref;
    this.#descriptor = descriptor;
    this.#job = job;
    this.#written = offset;
  }

  get offset(): number {
    return this.#written + this.#pendingBytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.#job.at(this.offset);
    if (this.#pendingBytes >= CHUNK) await this.#flush();
  }

  async restart(): Promise<void> {
    this.#pending = [];
    this.#pendingBytes = 0;
    if (this.#written === 0) return;
    await this.#stream.send({ action: WriteAction.WRITE, ref: this.#ref, offset: 0n });
    this.#written = 0;
  }

  async #flush(): Promise<void> {
    const data = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    if (data.length === 0) return;
    await this.#stream.send({
      action: WriteAction.WRITE,
      ref: this.#ref,
      offset: BigInt(this.#written),
      data,
    });
    this.#written += data.length;
  }

  /** `wrong` is what is wrong with it, if it has no outcome. */
  async commit(
    labels: Readonly<Record<string, string>>,
  ): Promise<{ outcome?: "fetched" | "there"; wrong?: unknown }> {
    const { digest, size } = this.#descriptor;
    await this.#flush();
    try {
      await this.#stream.send({
        action: WriteAction.COMMIT,
        ref: this.#ref,
        offset: BigInt(this.#written),
        total: BigInt(size),
        expected: digest,
        labels: { ...labels },
      });
      return { outcome: "fetched" };
    } catch (error) {
      if (codeOf(error) === Code.ALREADY_EXISTS) return { outcome: "there" };
      if (codeOf(error) !== Code.FAILED_PRECONDITION) throw error;
      return { wrong: TtrpcError.from(rawText(error)) };
    } finally {
      await this.#stream.end();
    }
  }

  /** What came in is kept for the next attempt, unless it is wrong, or the disk is full. */
  async giveUp(error: unknown): Promise<void> {
    const isKept = !isVerdict(error);
    if (isKept) await this.#flush().catch(() => {});
    await this.#stream.end();
    if (!isKept) await this.#services.content.abort({ ref: this.#ref }).catch(() => {});
  }
}

/** Whether there is no sense in keeping what has come in for another attempt. */
export function isVerdict(error: unknown): boolean {
  if (error instanceof RegistryError) return error.remedy === "final" || error.remedy === "elsewhere";
  if (error instanceof TtrpcError && error.code === Code.INVALID_ARGUMENT) return true;
  return /ENOSPC|no space left/i.test(String(error));
}

function rawText(error: unknown): string {
  if (error instanceof TtrpcError) return error.rawMessage;
  const { details } = error as { details?: string };
  return details ?? String(error);
}
