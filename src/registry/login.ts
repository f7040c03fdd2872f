// Whether a registry takes a user and a password: what `login` asks before it keeps them.
import type { Credentials } from "./authorizer.ts";
import type { RegistryHost } from "./hosts.ts";
import { API_ROOT, RegistrySession } from "./session.ts";

/** Rejects with UNAUTHENTICATED if it does not. */
export async function checkLogin(
  host: string,
  hosts: readonly RegistryHost[],
  credentials: Credentials,
  idleMs: number,
): Promise<void> {
  const reference = { text: host, host, repository: "", tag: undefined, digest: undefined };
  const session = new RegistrySession(reference, {
    hosts,
    credentials: async () => credentials,
    headers: {},
    idleMs,
    signal: new AbortController().signal,
  });
  try {
    await session.withHost(
      "resolve",
      () => 0,
      async (each) => {
        const answer = await session.ask(each, { method: "GET", path: API_ROOT, scopes: [] });
        if (answer.statusCode !== 200) await session.refuse(each.host, answer);
        answer.destroy();
      },
    );
  } finally {
    session.close();
  }
}
