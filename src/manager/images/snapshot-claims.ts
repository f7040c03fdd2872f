// What is being done with snapshots: a change is seen in the records only when it is on the disk, and until then nobody may do what does not go with it.
// Everything here happens at once, so that who has looked can act on what was seen.

export class SnapshotClaims {
  /** Those whose records are being made or removed. */
  readonly #changing = new Set<string>();
  /** How many are being made on top of each. */
  readonly #carrying = new Map<string, number>();

  isChanging(id: string): boolean {
    return this.#changing.has(id);
  }

  /** Whether something is being made on top of it. */
  isCarrying(id: string): boolean {
    return this.#carrying.has(id);
  }

  /** Returns what lets go. */
  change(...ids: readonly string[]): () => void {
    for (const id of ids) this.#changing.add(id);
    return () => {
      for (const id of ids) this.#changing.delete(id);
    };
  }

  /** Something is made on top of it. Returns what lets go. */
  carry(id: string): () => void {
    this.#carrying.set(id, (this.#carrying.get(id) ?? 0) + 1);
    return () => {
      const left = (this.#carrying.get(id) ?? 0) - 1;
      if (left > 0) this.#carrying.set(id, left);
      else this.#carrying.delete(id);
    };
  }
}
