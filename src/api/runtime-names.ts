// Names of runtimes and of directories that daemons, shims and clients agree on (containerd, runtime/v2/README.md).

export const OUR_RUNTIME = "io.containerd.holdfast.v2";
/** What containerd and Docker ask for if nobody says otherwise. */
export const RUNC_RUNTIME = "io.containerd.runc.v2";
/** The directory of bundles, by namespace and id, below a daemon's state directory. */
export const BUNDLES = "io.containerd.runtime.v2.task";
