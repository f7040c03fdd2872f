// The node that a file's tests share, and tests that are skipped where there can be none. Used by the tests in this folder.
import { after, test } from "node:test";
import type { DaemonOptions } from "../harness/daemon.ts";
import type { CriConfig } from "./config.ts";
import { Kubelet } from "./kubelet.ts";
import { noCri } from "./needs.ts";

export type OnNode = (name: string, body: (kubelet: Kubelet) => Promise<void>, skip?: string | false) => void;

/** Starts a node that is closed when the file's tests are over; returns what declares a test on it. */
export async function startNode(
  config: CriConfig = {},
  options: DaemonOptions = {},
  needs: string | false = noCri,
): Promise<OnNode> {
  const kubelet = needs === false ? await Kubelet.start(config, options) : undefined;
  after(() => kubelet?.close());
  return (name, body, skip = false) => {
    test(name, { skip: needs === false ? skip : needs }, () => body(kubelet as Kubelet));
  };
}
