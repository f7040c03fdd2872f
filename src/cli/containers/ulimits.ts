// Limits of a container's processes, from --ulimit NAME=SOFT[:HARD].
import { Problem, USAGE } from "../text/problem.ts";

/** As the OCI runtime specification has it. */
export interface Ulimit {
  readonly type: string;
  readonly soft: bigint;
  readonly hard: bigint;
}

const NONE = 2n ** 64n - 1n;

const NAMES =
  "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split(
    " ",
  );

/** As with Docker: one number is both limits, -1 and "unlimited" are none. Throws a Problem. */
export function parseUlimit(text: string): Ulimit {
  const [, name = "", soft = "", hard = soft] = /^([a-z]+)=([^:]+)(?::([^:]+))?$/.exec(text) ?? [];
  const limits = [soft, hard].map(limitOf);
  const [low, high] = limits;
  if (!NAMES.includes(name) || low === undefined || high === undefined)
    throw new Problem(
      `--ulimit ${text}: give it as in nofile=1024 or nofile=1024:4096; names: ${NAMES.join(", ")}`,
      USAGE,
    );
  if (low > high) throw new Problem(`--ulimit ${text}: the soft limit is above the hard one`, USAGE);
  return { type: `RLIMIT_${name.toUpperCase()}`, soft: low, hard: high };
}

function limitOf(text: string): bigint | undefined {
  if (text === "-1" || text === "unlimited") return NONE;
  return /^\d{1,19}$/.test(text) ? BigInt(text) : undefined;
}

/** `base`, an OCI process's rlimits, with `own` in the place of what is there of the same name; of two of a name the last one counts. */
export function withLimits(base: unknown, own: readonly Ulimit[]): unknown[] {
  const wanted = new Map(own.map((limit) => [limit.type, limit]));
  const others = (Array.isArray(base) ? base : []).filter(
    (limit: { type?: unknown }) => !wanted.has(String(limit.type)),
  );
  return [...others, ...wanted.values()];
}
