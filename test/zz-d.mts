import { Daemon } from "./harness/daemon.ts";
import { spawnSync } from "node:child_process";
const d = await Daemon.start({ kind: "holdfastd" });
const env = { ...process.env, HOLDFAST_ADDRESS: d.address, HOLDFAST_NAMESPACE: d.namespace, ROOTFS: d.rootfs, HOLDFAST_FIFOS: d.directory + "/fifos", HOLDFAST_LOGS: d.directory + "/logs" };
delete env.NODE_EXTRA_CA_CERTS;
spawnSync("bash", ["-c", process.argv[2]!], { stdio: "inherit", env });
await d.close();
