// Pulls and pushes that we do ourselves, into a daemon that has no transfer service.
import { existsSync } from "node:fs";
import { registryHosts } from "../../registry/hosts.ts";
import { Pulls } from "../../registry/pulls.ts";
import { Pushes } from "../../registry/pushes.ts";
import { parseReference } from "../../registry/reference.ts";
import { RegistrySession } from "../../registry/session.ts";
import { underLease } from "../../transfer/lease.ts";
import { type Progress, warning } from "../../transfer/progress.ts";
import { pullImage } from "../../transfer/pull.ts";
import { pushImage } from "../../transfer/push.ts";
import { holdContent } from "../../transfer/services.ts";
import type { DaemonClient } from "../containers/daemon-client.ts";
import { Problem } from "../text/problem.ts";
import type { RegistryLogin } from "./credentials.ts";
import type { ProgressView } from "./progress.ts";
import type { PullWish, PushWish, RegistryAccess } from "./registry-access.ts";
import { snapshotterOf } from "./snapshotter.ts";

/** Where containerd and Docker have a hosts.toml for each registry. */
const HOSTS_DIRS = ["/etc/containerd/certs.d", "/etc/docker/certs.d"];
const IDLE_MS = 30_000;

type FindLogin = (host: string) => Promise<RegistryLogin | undefined>;

export async function pullByOurselves(
  daemon: DaemonClient,
  wish: PullWish,
  login: FindLogin,
  view: ProgressView,
): Promise<void> {
  const { reference, platforms } = wish;
  const snapshotter = await snapshotterOf(daemon);
  await withSession(wish, login, view, (session, ending) =>
    underLease(daemon, reference, (services) =>
      pullImage(
        {
          services,
          pulls: new Pulls(session),
          scope: daemon.namespace,
          report: (progress) => view.take(progress),
          ending,
        },
        {
          reference: parseReference(reference),
          names: () => [reference],
          labels: {},
          platforms,
          bestOnly: platforms.length > 0,
          allMetadata: false,
          unpacks: platforms.map((platform) => ({ platform, snapshotter })),
        },
      ),
    ),
  );
}

export async function pushByOurselves(
  daemon: DaemonClient,
  wish: PushWish,
  login: FindLogin,
  view: ProgressView,
): Promise<void> {
  const { image } = await daemon.images.get({ name: wish.image });
  if (image?.target === undefined) throw new Problem(`${wish.image}: no such image`);
  const target = { ...image.target, size: Number(image.target.size) };
  await underLease(daemon, undefined, async (services) => {
    await holdContent(services, target.digest);
    await withSession(wish, login, view, async (session, ending) => {
      const report = (progress: Progress): void => view.take(progress);
      const context = { services, pushes: new Pushes(session), report, ending };
      await pushImage(context, target, { reference: session.reference, platforms: wish.platforms });
    });
  });
}

async function withSession<T>(
  { reference, plainHttp, hostsDir }: RegistryAccess,
  login: FindLogin,
  view: ProgressView,
  act: (session: RegistrySession, ending: AbortController) => Promise<T>,
): Promise<T> {
  const parsed = parseReference(reference);
  const ending = new AbortController();
  const directories = hostsDir === "" ? HOSTS_DIRS.filter((path) => existsSync(path)) : hostsDir.split(":");
  const notice = (text: string): void => view.take(warning(text));
  const session = new RegistrySession(parsed, {
    hosts: registryHosts(parsed.host, { directories, defaultScheme: plainHttp ? "http" : "", notice }),
    credentials: async (host) => {
      const found = await login(host);
      return found && { ...found, header: "" };
    },
    headers: {},
    idleMs: IDLE_MS,
    signal: ending.signal,
    notice,
  });
  try {
    return await act(session, ending);
  } finally {
    session.close();
  }
}
