// For the `skip` of tests that need what a machine may lack. Used by the tests in this folder.
import { existsSync } from "node:fs";
import { containerdVersion, isHoldfastd } from "../harness/runtime.ts";

/** containerd with its CRI plugin. */
export const noCri: string | false = isHoldfastd
  ? "holdfastd has no CRI service"
  : Number.isNaN(containerdVersion)
    ? "containerd is not installed"
    : false;

export const noCni: string | false =
  noCri !== false
    ? noCri
    : existsSync("/usr/lib/cni/ptp")
      ? false
      : "the package containernetworking-plugins is not installed";

export const noUserNamespaces: string | false =
  noCri !== false
    ? noCri
    : containerdVersion < 2
      ? "containerd has user namespaces for pods since 2.0"
      : false;
