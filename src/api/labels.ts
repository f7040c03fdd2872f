// Labels of containers that holdfastd acts on, and holdfast sets.

/** "true": holdfastd deletes the task and the container when the task has ended, whatever has become of the client. */
export const AUTO_REMOVE_LABEL = "holdfast.io/auto-remove";
/** The process that makes and starts such a container (src/platform/node-process.ts): if it ends before the start, the container goes too. */
export const CLIENT_LABEL = "holdfast.io/client";
/** The absolute path of a file that goes with such a container: its log. */
export const LOG_LABEL = "holdfast.io/log";
/** The name or number of the signal that asks the container to end, if it is not SIGTERM; containerd's clients set it from an image. */
export const STOP_SIGNAL_LABEL = "io.containerd.image.config.stop-signal";
