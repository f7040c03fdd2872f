// crun in runc's place.
import { existsSync } from "node:fs";
import { testRuntime } from "./behind-runtime.ts";

// crun takes a hybrid host for one of version 2 and then misses its controllers: it must not see the second hierarchy.
const UNIFIED = "/sys/fs/cgroup/unified";
const within = existsSync(UNIFIED)
  ? ["unshare", "--mount", "sh", "-c", `umount ${UNIFIED} && exec "$@"`, "sh"]
  : [];

await testRuntime("crun", {}, { within });
