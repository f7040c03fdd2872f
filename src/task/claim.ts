// Whose container the runtime has by an id. All daemons of a host share its state, so the same id may be another daemon's, and what is done about a failed
// create must be done to nobody else's.
import { RuntimeError } from "../runc/errors.ts";
import type { Runc } from "../runc/runc.ts";
import { Code, TtrpcError } from "../ttrpc/status.ts";

/**
 * Refuses an id that the runtime has for another container, with ALREADY_EXISTS. What an earlier, failed create of this bundle has left there is
 * removed, if it is not alive.
 */
export async function claimId(runc: Runc, id: string): Promise<void> {
  if (!runc.isKnown()) return;
  const bundle = await runc.knownBundle();
  if (bundle !== undefined && runc.isOurs(bundle)) {
    await runc.delete(false);
    if (!runc.isKnown()) return;
  }
  const holder = bundle === undefined ? "" : `: its bundle is ${bundle}`;
  throw new TtrpcError(Code.ALREADY_EXISTS, `container with id ${id} exists${holder}`);
}

/** Whether what the runtime has under the id was made by a create of ours that failed for `reason`, and not by another daemon's that came first. */
export async function isHalfMade(runc: Runc, reason: unknown): Promise<boolean> {
  if (!runc.isKnown()) return false;
  const bundle = await runc.knownBundle();
  if (bundle !== undefined) return runc.isOurs(bundle);
  // Not more than a directory yet: ours, unless the runtime has said that it found it there.
  const cause = reason instanceof Error ? reason.cause : undefined;
  return !(cause instanceof RuntimeError && cause.reason.includes("exist"));
}
