// gVisor's runsc in runc's place.
import { testRuntime } from "./behind-runtime.ts";

await testRuntime("runsc");
