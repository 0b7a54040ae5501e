/** The time ran out before the work was done. */
export class TooLate extends Error {
  override readonly name = 'TooLate';

  constructor(readonly timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`);
  }
}

/**
 * Waits for the work, but no longer than the time-out. Work that finishes later is ignored.
 * @param late what to do when the time runs out: it returns another result or throws; by default it throws TooLate
 */
export async function within<Value, Late = never>(
  timeoutMs: number,
  work: Promise<Value>,
  late: () => Late = () => {
    throw new TooLate(timeoutMs);
  },
): Promise<Value | Late> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  }).then(late);
  try {
    return await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}
