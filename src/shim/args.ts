// The shim's command line, as containerd calls it: Go's flag package, so `-x v`, `-x=v` and `--x v` are the same.

export interface Arguments {
  /** start, delete, or empty. */
  readonly action: string;
  readonly namespace: string;
  readonly id: string;
  /** The daemon's gRPC socket. */
  readonly address: string;
  /** Empty for the working directory. */
  readonly bundle: string;
  readonly debug: boolean;
  readonly version: boolean;
  readonly info: boolean;
  /** `start` takes the containers of a dead shim over. */
  readonly adopt: boolean;
  /** Says whether this program can go on with the state on its stdin. */
  readonly probeState: boolean;
}

const texts: Readonly<Record<string, string>> = {
  namespace: "namespace",
  id: "id",
  address: "address",
  bundle: "bundle",
  // Taken and not needed: events go over ttrpc, and the socket's path follows from the others.
  "publish-binary": "publishBinary",
  socket: "socket",
};
const switches: Readonly<Record<string, string>> = {
  debug: "debug",
  v: "version",
  version: "version",
  info: "info",
  "probe-state": "probeState",
  adopt: "adopt",
};

/** Throws an Error that names the flag if one is unknown or lacks its value. */
export function parseArguments(args: readonly string[]): Arguments {
  const found: Record<string, string | boolean> = {};
  let index = 0;
  for (; index < args.length; index++) {
    const arg = args[index] ?? "";
    if (!arg.startsWith("-") || arg === "-") break;
    const [name, value] = splitFlag(arg);
    const key = texts[name];
    const toggle = switches[name];
    if (key !== undefined) {
      const text = value ?? args[++index];
      if (text === undefined) throw new Error(`flag needs an argument: -${name}`);
      found[key] = text;
    } else if (toggle !== undefined) {
      found[toggle] = value !== "false";
    } else {
      throw new Error(`flag provided but not defined: -${name}`);
    }
  }
  const names = { namespace: "", id: "", address: "", bundle: "" };
  const none = { ...names, debug: false, version: false, info: false, probeState: false, adopt: false };
  return { ...none, ...found, action: args[index] ?? "" };
}

function splitFlag(arg: string): [name: string, value: string | undefined] {
  const flag = arg.slice(arg.startsWith("--") ? 2 : 1);
  const equals = flag.indexOf("=");
  return equals < 0 ? [flag, undefined] : [flag.slice(0, equals), flag.slice(equals + 1)];
}
