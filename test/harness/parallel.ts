// Runs many small asynchronous jobs a few at a time, so that a test of hundreds of processes fits a machine of two cores.

/** Calls `job` for each item, at most `width` at once; rejects with the first failure after the jobs under way have ended. */
export async function inParallel<T>(
  width: number,
  items: Iterable<T>,
  job: (item: T, index: number) => Promise<void>,
): Promise<void> {
  const queue = [...items].entries();
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) {
      if (failures.length > 0) return;
      await job(item, index).catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  if (failures.length > 0) throw failures[0];
}
