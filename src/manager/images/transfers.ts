// Transfers as clients ask for them: which source goes to which destination, and the client's streams behind them. api/transfer.ts loads it.
import { bareTypeUrl, type Codec, pack, unpack } from "../../api/any.ts";
import type { Any } from "../../api/generated/google/protobuf/any.ts";
import type { TransferRequest } from "../../api/generated/transfer.ts";
import {
  AuthRequest,
  AuthResponse,
  AuthType,
  ImageExportStream,
  ImageImportStream,
  ImageStore,
  OCIRegistry,
  Progress,
} from "../../api/generated/transfer_types.ts";
import type { CredentialSource } from "../../registry/authorizer.ts";
import type { Descriptor, Platform } from "../../registry/descriptor.ts";
import { registryHosts } from "../../registry/hosts.ts";
import { Pulls } from "../../registry/pulls.ts";
import { Pushes } from "../../registry/pushes.ts";
import { parseReference } from "../../registry/reference.ts";
import { RegistrySession } from "../../registry/session.ts";
import { exportImages } from "../../transfer/export.ts";
import { importImages } from "../../transfer/import.ts";
import { underLease } from "../../transfer/lease.ts";
import { HOST_PLATFORM } from "../../transfer/platforms.ts";
import { type Report, warning } from "../../transfer/progress.ts";
import { nameImage, type PullRequest, pullImage } from "../../transfer/pull.ts";
import { pushImage } from "../../transfer/push.ts";
import { holdContent, type ImageServices } from "../../transfer/services.ts";
import { Code, TtrpcError } from "../../ttrpc/status.ts";
import { receiveBytes, sendBytes } from "../server/byte-streams.ts";
import type { Call } from "../server/grpc-server.ts";
import { localServices } from "../server/local-services.ts";
import type { ClientStream } from "../server/streams.ts";
import type { TransferOptions } from "./transfer-options.ts";

const TYPES = "containerd.types.transfer.";

/** What can be at either end. */
const ENDS = {
  ImageStore,
  OCIRegistry,
  ImageImportStream,
  ImageExportStream,
} as const;
type EndName = keyof typeof ENDS;

/** One transfer, to its end. Rejects with UNIMPLEMENTED for ends that do not go together. */
export async function transfer(
  options: TransferOptions,
  request: TransferRequest,
  call: Call,
): Promise<void> {
  const ending = new AbortController();
  const off = call.signal.onCancel(() =>
    ending.abort(new TtrpcError(Code.CANCELLED, "the transfer was broken off: context canceled")),
  );
  const used: ClientStream[] = [];
  const stream = (id: string): ClientStream => {
    const found = options.streams.get(call.namespace, id);
    used.push(found);
    return found;
  };
  const progressId = request.options?.progressStream ?? "";
  const progress = progressId === "" ? undefined : stream(progressId);
  const report: Report = (message) => progress?.send(pack(`${TYPES}Progress`, Progress, message));
  try {
    await new Transfer(options, call, { stream, report, ending }).run(request);
  } finally {
    off();
    for (const each of used) each.close();
  }
}

interface Means {
  /** Throws NOT_FOUND. */
  readonly stream: (id: string) => ClientStream;
  readonly report: Report;
  readonly ending: AbortController;
}

class Transfer {
  readonly #options: TransferOptions;
  readonly #call: Call;
  readonly #means: Means;
  readonly #services: ImageServices;

  constructor(options: TransferOptions, call: Call, means: Means) {
    this.#options = options;
    this.#call = call;
    this.#means = means;
    this.#services = localServices(options.services, call);
  }

  async run({ source, destination }: TransferRequest): Promise<void> {
    const [from, to] = [nameOf(source), nameOf(destination)];
    const pair = `${from} ${to}`;
    if (pair === "OCIRegistry ImageStore")
      await this.#pull(read(source, OCIRegistry), read(destination, ImageStore));
    else if (pair === "ImageStore OCIRegistry")
      await this.#push(read(source, ImageStore), read(destination, OCIRegistry));
    else if (pair === "ImageStore ImageStore")
      await this.#tag(read(source, ImageStore), read(destination, ImageStore));
    else if (pair === "ImageImportStream ImageStore")
      await this.#import(read(source, ImageImportStream), read(destination, ImageStore));
    else if (pair === "ImageStore ImageExportStream")
      await this.#export(read(source, ImageStore), read(destination, ImageExportStream));
    else if (pair === "ImageImportStream ImageExportStream")
      await this.#echo(read(source, ImageImportStream), read(destination, ImageExportStream));
    else {
      const text = `unable to transfer from ${from ?? source?.typeUrl} to ${to ?? destination?.typeUrl}: not implemented`;
      throw new TtrpcError(Code.UNIMPLEMENTED, text);
    }
  }

  async #pull(registry: OCIRegistry, store: ImageStore): Promise<void> {
    const reference = parseReference(registry.reference);
    const { report, ending } = this.#means;
    const unpacks = await this.#unpacks(store);
    await this.#withSession(registry, (session) =>
      this.#underLease(registry.reference, (services) =>
        pullImage(
          { services, pulls: new Pulls(session), scope: this.#call.namespace, report, ending },
          {
            reference,
            names: (digest) => namesIn(store, digest),
            labels: store.labels,
            platforms: store.platforms,
            bestOnly: store.manifestLimit > 0,
            allMetadata: store.allMetadata,
            unpacks,
          },
        ),
      ),
    );
  }

  async #push(store: ImageStore, registry: OCIRegistry): Promise<void> {
    const { report, ending } = this.#means;
    const { platforms } = store;
    await underLease(this.#services, undefined, async (services) => {
      const target = await heldTarget(services, store.name);
      await this.#withSession(registry, async (session) => {
        const context = { services, pushes: new Pushes(session), report, ending };
        await pushImage(context, target, { reference: session.reference, platforms });
      });
    });
  }

  async #tag(from: ImageStore, to: ImageStore): Promise<void> {
    await underLease(this.#services, undefined, async (services) => {
      const target = await heldTarget(services, from.name);
      for (const name of namesIn(to, target.digest)) await nameImage(services, name, target, to.labels);
    });
  }

  async #import({ stream: id, forceCompress }: ImageImportStream, store: ImageStore): Promise<void> {
    const archive = receiveBytes(this.#means.stream(id));
    const { report, ending } = this.#means;
    const { expanded } = this.#options;
    const unpacks = await this.#unpacks(store);
    await this.#underLease(undefined, (services) =>
      importImages(
        { services, scope: this.#call.namespace, report, signal: ending.signal, expanded },
        archive,
        {
          indexName: store.name,
          rules: store.extraReferences,
          labels: store.labels,
          platforms: store.platforms,
          unpacks,
          compress: forceCompress,
        },
      ),
    );
  }

  async #export(store: ImageStore, to: ImageExportStream): Promise<void> {
    const output = this.#means.stream(to.stream);
    const { name, extraReferences, exportImages: more } = store;
    const names = [...(name === "" ? [] : [name]), ...extraReferences.map((each) => each.name), ...more];
    if (names.length === 0) throw new TtrpcError(Code.NOT_FOUND, "no image to export: not found");
    const platforms = to.allPlatforms ? [] : to.platforms.length > 0 ? to.platforms : [HOST_PLATFORM];
    const { skipDockerManifest, skipNonDistributable } = to;
    const request = { platforms, skipDockerManifest, skipNonDistributable };
    this.#means.report({
      event: "Exporting",
      name: "",
      parents: [],
      progress: 0n,
      total: 0n,
      desc: undefined,
    });
    await underLease(this.#services, undefined, async (services) => {
      const images = await Promise.all(
        names.map(async (each) => ({ name: each, target: await heldTarget(services, each) })),
      );
      await sendBytes(output, exportImages(services, { ...request, images }));
    });
    this.#means.report({
      event: "Completed export",
      name: "",
      parents: [],
      progress: 0n,
      total: 0n,
      desc: undefined,
    });
  }

  /** What comes in goes out. */
  #echo(from: ImageImportStream, to: ImageExportStream): Promise<void> {
    return sendBytes(this.#means.stream(to.stream), receiveBytes(this.#means.stream(from.stream)));
  }

  async #unpacks({ unpacks }: ImageStore): Promise<PullRequest["unpacks"]> {
    const usual = await this.#options.snapshotter();
    return unpacks.map(({ platform, snapshotter }) => ({
      platform: givenPlatform(platform),
      snapshotter: snapshotter === "" ? usual : snapshotter,
    }));
  }

  async #withSession<T>(
    { reference, resolver }: OCIRegistry,
    act: (session: RegistrySession) => Promise<T>,
  ): Promise<T> {
    const parsed = parseReference(reference);
    const directories = resolver?.hostDir ? resolver.hostDir.split(":") : this.#options.hostsDirectories;
    const defaultScheme = resolver?.defaultScheme ?? "";
    const notice = (text: string): void => this.#means.report(warning(text));
    const session = new RegistrySession(parsed, {
      hosts: registryHosts(parsed.host, { directories, defaultScheme, notice }),
      credentials: this.#credentials(reference, resolver?.authStream ?? ""),
      headers: resolver?.headers ?? {},
      idleMs: this.#options.idleMs,
      signal: this.#means.ending.signal,
      notice,
    });
    try {
      return await act(session);
    } finally {
      session.close();
    }
  }

  /** Asks the client, one thing after the other. Credentials stay with it: nothing of them is kept. */
  #credentials(reference: string, id: string): CredentialSource {
    if (id === "") return async () => undefined;
    const stream = this.#means.stream(id);
    const { signal } = this.#means.ending;
    let last: Promise<unknown> = Promise.resolve();
    return (host, wwwauthenticate) => {
      const ask = async (): Promise<AuthResponse> => {
        stream.send(
          pack(`${TYPES}AuthRequest`, AuthRequest, {
            host,
            reference,
            wwwauthenticate: [...wwwauthenticate],
          }),
        );
        const answer = await aborted(signal, stream.receive());
        const response = answer && unpack(answer, `${TYPES}AuthResponse`, AuthResponse);
        if (response === undefined)
          throw new TtrpcError(Code.UNAUTHENTICATED, "the client gives no credentials");
        return response;
      };
      const asked = last.then(ask, ask);
      last = asked;
      return asked.then(credentialsOf);
    };
  }

  /** The client's own, if it has one. */
  #underLease<T>(image: string | undefined, act: (services: ImageServices) => Promise<T>): Promise<T> {
    return this.#call.lease === undefined ? underLease(this.#services, image, act) : act(this.#services);
  }
}

function nameOf(any: Any | undefined): EndName | undefined {
  const type = bareTypeUrl(any?.typeUrl ?? "");
  const name = type.startsWith(TYPES) ? type.slice(TYPES.length) : "";
  return Object.hasOwn(ENDS, name) ? (name as EndName) : undefined;
}

function read<T>(any: Any | undefined, codec: Pick<Codec<T>, "decode">): T {
  return codec.decode(any?.value ?? new Uint8Array(0));
}

/** What the name stands for, which stays until the services' lease ends. Rejects with NOT_FOUND. */
async function heldTarget(services: ImageServices, name: string): Promise<Descriptor> {
  const { image } = await services.images.get({ name });
  if (image?.target === undefined) throw new TtrpcError(Code.NOT_FOUND, `image ${name}: not found`);
  await holdContent(services, image.target.digest);
  return { ...image.target, size: Number(image.target.size) };
}

/** One that says nothing is any. */
function givenPlatform(platform: Platform | undefined): Platform | undefined {
  return platform === undefined || platform.os === "" ? undefined : platform;
}

/** Throws NOT_FOUND if there is none. */
function namesIn({ name, extraReferences }: ImageStore, digest: string): string[] {
  const more = extraReferences
    .filter(({ isPrefix }) => !isPrefix)
    .map((each) => (each.addDigest ? `${each.name}@${digest}` : each.name));
  const names = [...(name === "" ? [] : [name]), ...more];
  if (names.length === 0) throw new TtrpcError(Code.NOT_FOUND, "no image name found: not found");
  return names;
}

function credentialsOf({ authType, username, secret }: AuthResponse): Awaited<ReturnType<CredentialSource>> {
  if (secret === "" && username === "") return undefined;
  if (authType === AuthType.HEADER) return { username: "", secret: "", header: secret };
  if (authType === AuthType.CREDENTIALS) return { username, secret, header: "" };
  return authType === AuthType.REFRESH ? { username: "", secret, header: "" } : undefined;
}

/** Rejects with the signal's reason, should that come first. */
function aborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const stop = (): void => reject(signal.reason);
    if (signal.aborted) stop();
    signal.addEventListener("abort", stop, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
