// Docker on containerd: each container names our shim (docker run --runtime io.containerd.holdfast.v2).
import { testBehindDocker } from "./behind-docker.ts";

await testBehindDocker("each");
