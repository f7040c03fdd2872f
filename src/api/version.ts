// Which Holdfast this is. The three programs are of one version.

export const VERSION = "0.1.0";
/** Of the source; "" where nobody has said it. */
export const REVISION = "";
