// Docker on containerd: our shim stands under the name of Docker's usual one, for Docker before 23.
import { testBehindDocker } from "./behind-docker.ts";

await testBehindDocker("instead");
