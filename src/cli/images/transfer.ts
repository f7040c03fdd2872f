// Pulls and pushes, asked of a daemon: by its transfer service, where the daemon does it and asks us for credentials; without one that is whole
// (containerd 1.6 and 1.7) we do it ourselves, by its other services.
import { randomBytes } from "node:crypto";
import { bareTypeUrl, type Codec, pack, unpack } from "../../api/any.ts";
import type { Any } from "../../api/generated/google/protobuf/any.ts";
import { StreamInit, StreamingDefinition } from "../../api/generated/streaming.ts";
import { TransferDefinition } from "../../api/generated/transfer.ts";
import {
  AuthRequest,
  AuthResponse,
  AuthType,
  ImageStore,
  OCIRegistry,
  Progress,
} from "../../api/generated/transfer_types.ts";
import type { Platform } from "../../registry/descriptor.ts";
import { Code } from "../../ttrpc/status.ts";
import type { BidiStream, DaemonClient } from "../containers/daemon-client.ts";
import { callCode, errorText } from "../text/problem.ts";
import { complain } from "../text/screen.ts";
import { loginFor, type RegistryLogin } from "./credentials.ts";
import { pullByOurselves, pushByOurselves } from "./local-transfer.ts";
import type { ProgressView } from "./progress.ts";
import type { PullWish, PushWish, RegistryAccess } from "./registry-access.ts";

const TYPES = "containerd.types.transfer.";

/** Rejects with the daemon's error. */
export async function pull(daemon: DaemonClient, wish: PullWish, view: ProgressView): Promise<void> {
  const { reference, platforms } = wish;
  const store: ImageStore = {
    ...EMPTY_STORE,
    name: reference,
    platforms: platforms.map(protoPlatform),
    // The one that runs best on each.
    manifestLimit: platforms.length,
    allMetadata: false,
    unpacks: platforms.map((platform) => ({ platform: protoPlatform(platform), snapshotter: "" })),
  };
  const byTheDaemon = (registry: Any): [Any, Any] => [registry, packed("ImageStore", ImageStore, store)];
  const done = await askDaemon(daemon, wish, view, byTheDaemon);
  if (!done) await pullByOurselves(daemon, wish, (host) => loginOf(wish, host), view);
}

/** Rejects with the daemon's error. */
export async function push(daemon: DaemonClient, wish: PushWish, view: ProgressView): Promise<void> {
  const store = { ...EMPTY_STORE, name: wish.image, platforms: wish.platforms.map(protoPlatform) };
  const byTheDaemon = (registry: Any): [Any, Any] => [packed("ImageStore", ImageStore, store), registry];
  const done = await askDaemon(daemon, wish, view, byTheDaemon);
  if (!done) await pushByOurselves(daemon, wish, (host) => loginOf(wish, host), view);
}

/** One of which nothing is said. */
export const EMPTY_STORE: ImageStore = {
  name: "",
  labels: {},
  platforms: [],
  allMetadata: false,
  manifestLimit: 0,
  extraReferences: [],
  exportImages: [],
  unpacks: [],
};

function protoPlatform({ os, architecture, variant = "" }: Platform): ImageStore["platforms"][number] {
  return { os, architecture, variant };
}

/** The service of containerd 1.7 cannot be told the scheme, and asks a registry of this machine by TLS only: its own ctr does not use it. */
async function hasWholeService(daemon: DaemonClient): Promise<boolean> {
  const { version } = await daemon.version.version({});
  return !/^v?1\.7\./.test(version);
}

/** false if the daemon has no such service. */
async function askDaemon(
  daemon: DaemonClient,
  access: RegistryAccess,
  view: ProgressView,
  ends: (registry: Any) => [source: Any, destination: Any],
): Promise<boolean> {
  if (!(await hasWholeService(daemon))) return false;
  const streams: BidiStream[] = [];
  const open = async (kind: string): Promise<{ id: string; stream: BidiStream }> => {
    const id = `${kind}-${randomBytes(8).toString("hex")}`;
    const stream = daemon.bidi(StreamingDefinition, StreamingDefinition.methods.stream);
    streams.push(stream);
    stream.write(pack("containerd.services.streaming.v1.StreamInit", StreamInit, { id }));
    await stream.next();
    return { id, stream };
  };
  try {
    const progress = await open("progress");
    const credentials = await open("creds");
    const shown = showProgress(progress.stream, view);
    void answerCredentials(credentials.stream, access);
    const { reference, plainHttp, hostsDir } = access;
    const resolver = {
      authStream: credentials.id,
      headers: {},
      hostDir: hostsDir,
      defaultScheme: plainHttp ? "http" : "",
    };
    const [source, destination] = ends(packed("OCIRegistry", OCIRegistry, { reference, resolver }));
    const options = { progressStream: progress.id };
    await daemon.service(TransferDefinition).transfer({ source, destination, options });
    await shown;
    return true;
  } catch (error) {
    if (callCode(error) === Code.UNIMPLEMENTED) return false;
    throw error;
  } finally {
    for (const stream of streams) stream.cancel();
  }
}

function packed<T>(name: string, codec: Pick<Codec<T>, "encode">, message: T): Any {
  return pack(`${TYPES}${name}`, codec, message);
}

/** Resolves when the daemon has said all. */
async function showProgress(stream: BidiStream, view: ProgressView): Promise<void> {
  for (;;) {
    const message = await stream.next().catch(() => undefined);
    if (message === undefined) return;
    const progress = unpack(message as Any, `${TYPES}Progress`, Progress);
    if (progress !== undefined) view.take(progress);
  }
}

/** Until the stream ends. What cannot be found out is answered with nothing: the registry may do without. */
async function answerCredentials(stream: BidiStream, access: RegistryAccess): Promise<void> {
  for (;;) {
    const message = (await stream.next().catch(() => undefined)) as Any | undefined;
    if (message === undefined) return;
    const request = unpack(message, `${TYPES}AuthRequest`, AuthRequest);
    if (request === undefined) throw new Error(`the daemon asks for ${bareTypeUrl(message.typeUrl)}`);
    const login = await loginOf(access, request.host).catch((error: unknown) => {
      complain(errorText(error));
      return undefined;
    });
    stream.write(packed("AuthResponse", AuthResponse, answerWith(login)));
  }
}

function answerWith(login: RegistryLogin | undefined): AuthResponse {
  const { username = "", secret = "" } = login ?? {};
  const authType =
    login === undefined ? AuthType.NONE : username === "" ? AuthType.REFRESH : AuthType.CREDENTIALS;
  return { authType, username, secret, expireAt: undefined };
}

/** What was given on the command line is for whichever host stands for the registry. */
async function loginOf({ login }: RegistryAccess, host: string): Promise<RegistryLogin | undefined> {
  return login ?? loginFor(host);
}
