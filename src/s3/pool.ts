/**
 * A bounded number of concurrent tasks over a sequence.
 *
 * @module
 */

/**
 * Maps items in order, never more than `limit` items ahead of the consumer. When it ends, nothing
 * is left running.
 *
 * @param limit The most items in progress, a positive integer.
 * @param items Pulled as there is room.
 * @returns The results, in the order of the items; the first failure ends them.
 */
export async function* mapInOrder<In, Out>(
  limit: number,
  items: Iterable<In> | AsyncIterable<In>,
  work: (item: In) => Promise<Out>,
): AsyncGenerator<Out, void, undefined> {
  const running: Promise<Out>[] = [];
  try {
    for await (const item of items) {
      const result = work(item);
      // Its rejection is handled when its turn comes.
      result.catch(() => {});
      running.push(result);
      if (running.length < limit) continue;
      const [first] = running.splice(0, 1);
      if (first !== undefined) yield await first;
    }
    for (const result of running) yield await result;
  } finally {
    await Promise.allSettled(running);
  }
}
