// gVisor's runsc in runc's place.
import { testRuntime } from "./behind-runtime.ts";

const lacks = {
  "ps lists the processes": "runsc tells the pids inside its sandbox: no exec is found by its own",
  "nothing is left behind": "runsc leaves its gofer process behind when a container is deleted by force",
};

// Its sandbox would take over the interfaces of a network namespace that the caller has set up; ctr sets none up.
await testRuntime("runsc", lacks, { words: ["--network=none"] });
