// Waits for SIGTERM, as little as a program can do.
import * as host from "holdfast:host";

host.onSignals([15], () => host.exit(0));
host.trimMemory();
