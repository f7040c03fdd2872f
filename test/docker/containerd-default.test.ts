// Docker on containerd: our shim is dockerd's default runtime.
import { testBehindDocker } from "./behind-docker.ts";

await testBehindDocker("default");
