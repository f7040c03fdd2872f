// The content service: blobs and the writes that become blobs, by namespace (containerd's metadata/content.go and services/content). A blob that one
// namespace has written is there for another as soon as that names its digest.
import type {
  ContentDefinition,
  Info,
  Status,
  WriteContentRequest,
  WriteContentResponse,
} from "../../api/generated/content.ts";
import { WriteAction } from "../../api/generated/content.ts";
import { timestampFromNs } from "../../api/timestamp.ts";
import type { Blobs } from "../../images/blobs.ts";
import { hexOf } from "../../images/digest.ts";
import type { IngestStatus, Ingests, Writer } from "../../images/ingests.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { ingestResource, recordContent } from "../images/content-records.ts";
import type { Images } from "../images/images.ts";
import type { ContentRecord, Store } from "../records/store.ts";
import { parseFilters } from "../server/filters.ts";
import type { Call, Handlers } from "../server/grpc-server.ts";
import { validateLabels } from "../server/identifiers.ts";
import { changeLabels, nowText, withoutEmpty } from "./labels.ts";
import { ensureNamespace } from "./namespaces.ts";

/** Infos in one message of a list. */
const LIST_BATCH = 100;

export function contentService(images: Images, store: Store): Handlers<ContentDefinition> {
  const { blobs, ingests } = images;
  const { contents } = store;
  return {
    info: ({ digest }, call) => ({ info: describe(digest, known(store, call.namespace, digest)) }),

    async update({ info, updateMask }, call) {
      const { digest, labels } = info ?? { digest: "", labels: {} };
      known(store, call.namespace, digest);
      const record = await contents.update(call.namespace, digest, (before) => ({
        ...before,
        updatedAt: nowText(),
        labels: changeLabels("content info", before.labels, labels, updateMask ?? [], digest),
      }));
      return { info: describe(digest, record) };
    },

    async *list({ filters }, call) {
      const matches = parseFilters(filters);
      const infos = contents
        .ids(call.namespace)
        .map((digest) => describe(digest, contents.get(call.namespace, digest)))
        .filter((info) => matches((path) => fieldOf(info, path)));
      for (let at = 0; at < infos.length; at += LIST_BATCH) yield { info: infos.slice(at, at + LIST_BATCH) };
    },

    async delete({ digest }, call) {
      known(store, call.namespace, digest);
      await contents.remove(call.namespace, digest);
      images.publish.contentDeleted(call.namespace, digest);
      images.collectSoon();
      return {};
    },

    async *read({ digest, offset, size }, call) {
      const record = known(store, call.namespace, digest);
      const start = Math.max(0, Number(offset));
      if (start > record.size) {
        throw new TtrpcError(Code.OUT_OF_RANGE, `read past object length ${record.size} bytes: out of range`);
      }
      const wanted = Number(size);
      const end = wanted <= 0 ? record.size : Math.min(record.size, start + wanted);
      for await (const { at, bytes } of blobs.read(digest, start, end))
        yield { offset: BigInt(at), data: bytes };
    },

    status: ({ ref }, call) => ({ status: describeIngest(ingests.status(call.namespace, ref)) }),

    listStatuses({ filters }, call) {
      const matches = parseFilters(filters);
      const statuses = ingests.list(call.namespace).map(describeIngest);
      return {
        statuses: statuses.filter(({ ref }) => matches(([first]) => (first === "ref" ? ref : undefined))),
      };
    },

    write: (requests, call) => new WriteStream({ blobs, ingests, store, images }, call).run(requests),

    async abort({ ref }, call) {
      ingests.abort(call.namespace, ref);
      await images.letGo(call.namespace, call.lease, ingestResource(ref));
      return {};
    },
  };
}

/** Throws INVALID_ARGUMENT for what is no digest, and NOT_FOUND for what the namespace does not have. */
function known({ contents }: Store, namespace: string, digest: string): ContentRecord {
  hexOf(digest);
  const record = contents.find(namespace, digest);
  if (record === undefined) throw new TtrpcError(Code.NOT_FOUND, `content digest ${digest}: not found`);
  return record;
}

function describe(digest: string, { size, createdAt, updatedAt, labels }: ContentRecord): Info {
  return {
    digest,
    size: BigInt(size),
    createdAt: timestampFromNs(BigInt(createdAt)),
    updatedAt: timestampFromNs(BigInt(updatedAt)),
    labels,
  };
}

function describeIngest({ ref, startedAtMs, updatedAtMs, offset, total, expected }: IngestStatus): Status {
  return {
    startedAt: timestampFromNs(BigInt(Math.round(startedAtMs)) * 1_000_000n),
    updatedAt: timestampFromNs(BigInt(Math.round(updatedAtMs)) * 1_000_000n),
    ref,
    offset: BigInt(offset),
    total: BigInt(total),
    expected,
  };
}

function fieldOf({ digest, size, labels }: Info, [first, ...rest]: readonly string[]): string | undefined {
  if (first === "digest") return digest;
  if (first === "size") return String(size);
  return first === "labels" ? labels[rest.join(".")] : undefined;
}

interface WriteContext {
  readonly blobs: Blobs;
  readonly ingests: Ingests;
  readonly store: Store;
  readonly images: Images;
}

/** One Write call: opens the ingest with its first message, and holds it to its end. */
class WriteStream {
  readonly #context: WriteContext;
  readonly #call: Call;
  #writer: Writer | undefined;
  #ref = "";
  #total = 0;
  #expected = "";
  #labels: Record<string, string> = {};

  constructor(context: WriteContext, call: Call) {
    this.#context = context;
    this.#call = call;
  }

  async *run(requests: AsyncIterable<WriteContentRequest>): AsyncGenerator<WriteContentResponse> {
    try {
      for await (const request of requests) {
        yield await this.#answer(request);
        if (request.action === WriteAction.COMMIT) return;
      }
    } finally {
      await this.#writer?.close();
    }
  }

  async #answer(request: WriteContentRequest): Promise<WriteContentResponse> {
    this.#take(request);
    this.#writer ??= await this.#open();
    const writer = this.#writer;
    const { action, data } = request;
    if (action !== WriteAction.STAT) {
      await this.#place(writer, Number(request.offset));
      await writer.write(data);
    }
    const digest = action === WriteAction.COMMIT ? await this.#commit(writer) : writer.digest;
    return {
      action,
      startedAt: timestampFromNs(BigInt(Math.round(writer.about.startedAtMs)) * 1_000_000n),
      updatedAt: timestampFromNs(BigInt(nowText())),
      offset: BigInt(writer.offset),
      total: BigInt(this.#total),
      digest,
    };
  }

  /** What a message says of the whole write. */
  #take({ ref, total, expected, labels }: WriteContentRequest): void {
    const refuse = (text: string): never => {
      throw new TtrpcError(Code.INVALID_ARGUMENT, `${text}: invalid argument`);
    };
    if (this.#ref === "" && ref === "") refuse("first message must have a reference");
    if (this.#ref !== "" && ref !== "" && ref !== this.#ref)
      refuse(`the stream writes to ${this.#ref}, not to ${ref}`);
    if (ref !== "") this.#ref = ref;
    if (expected !== "") {
      hexOf(expected);
      this.#expected = expected;
    }
    if (total > 0n) this.#total = Number(total);
    if (Object.keys(labels).length > 0) {
      validateLabels("info.Labels", labels);
      this.#labels = withoutEmpty(labels);
    }
  }

  async #open(): Promise<Writer> {
    const { ingests, store, images } = this.#context;
    const { namespace, lease } = this.#call;
    if (lease !== undefined) store.leases.get(namespace, lease);
    await ensureNamespace(store, namespace);
    if (this.#expected !== "" && (await this.#takeBlob(this.#expected)))
      throw new TtrpcError(Code.ALREADY_EXISTS, `content ${this.#expected}: already exists`);
    const writer = await ingests.open({
      namespace,
      ref: this.#ref,
      total: this.#total,
      expected: this.#expected,
      ...(lease !== undefined && { isLeased: true }),
    });
    try {
      await images.keep(namespace, lease, ingestResource(this.#ref));
      return writer;
    } catch (error) {
      await writer.close();
      throw error;
    }
  }

  /** Whether it was there, for this namespace too from now on, and on the lease. */
  async #takeBlob(digest: string): Promise<boolean> {
    const { blobs, images } = this.#context;
    const release = await images.share();
    try {
      const blob = blobs.stat(digest);
      if (blob !== undefined) await this.#record(digest, blob.size);
      return blob !== undefined;
    } finally {
      release();
    }
  }

  /** Writes are in sequence; only going back to the start is allowed. */
  async #place(writer: Writer, offset: number): Promise<void> {
    if (offset === 0 && writer.offset > 0) await writer.restart();
    else if (offset !== writer.offset) {
      const text = `write @${offset} must occur at current offset ${writer.offset}: out of range`;
      throw new TtrpcError(Code.OUT_OF_RANGE, text);
    }
  }

  async #commit(writer: Writer): Promise<string> {
    const { store } = this.#context;
    const release = await this.#context.images.share();
    try {
      const { digest } = await writer.commit(this.#total, this.#expected);
      const isNew = store.contents.find(this.#call.namespace, digest) === undefined;
      await this.#record(digest, writer.offset);
      if (!isNew) throw new TtrpcError(Code.ALREADY_EXISTS, `content ${digest}: already exists`);
      return digest;
    } finally {
      release();
    }
  }

  #record(digest: string, size: number): Promise<void> {
    return recordContent(this.#context, this.#call, digest, { size, labels: this.#labels, ref: this.#ref });
  }
}
