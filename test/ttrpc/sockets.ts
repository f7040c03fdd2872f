// Server and client on a real unix socket in a directory of their own, taken down with the test.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { listen, nodeClock, nodeNet } from "../../src/platform/node.ts";
import type { ByteStream } from "../../src/platform/platform.ts";
import { TtrpcClient } from "../../src/ttrpc/client.ts";
import type { ServiceClient, ServiceImplementation } from "../../src/ttrpc/definition.ts";
import { TtrpcServer } from "../../src/ttrpc/server.ts";
import { serverStreaming } from "../../src/ttrpc/server-stream.ts";
import { createClient } from "../../src/ttrpc/typed-client.ts";
import { EchoDefinition } from "./echo.ts";

export interface Sockets {
  readonly path: string;
  readonly server: TtrpcServer;
  /** The server's ends, in the order of connections. */
  readonly accepted: ByteStream[];
  connect(): Promise<{ client: TtrpcClient; echo: ServiceClient<typeof EchoDefinition> }>;
}

export function socketDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "ttrpc-"));
  context.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

export async function serve(
  context: TestContext,
  implementation: Partial<ServiceImplementation<typeof EchoDefinition>>,
): Promise<Sockets> {
  const path = join(socketDirectory(context), "s");
  const server = new TtrpcServer(nodeClock, { streaming: serverStreaming });
  server.register(EchoDefinition, implementation);
  const accepted: ByteStream[] = [];
  const listener = await listen(path, 0o600, (stream) => {
    accepted.push(stream);
    server.accept(stream);
  });
  const clients: TtrpcClient[] = [];
  context.after(() => {
    for (const client of clients) client.close();
    server.close();
    listener.close();
  });
  return {
    path,
    server,
    accepted,
    async connect() {
      const client = new TtrpcClient(await nodeNet.connect(path), nodeClock);
      clients.push(client);
      return { client, echo: createClient(EchoDefinition, client) };
    },
  };
}

/** A promise that the test resolves, and whether it has been. */
export function gate(): { opened: Promise<void>; open(): void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Tells when the server stops reading from `stream`. */
export function onPause(stream: ByteStream, tell: () => void): void {
  const pause = stream.pause;
  stream.pause = () => {
    pause.call(stream);
    tell();
  };
}
