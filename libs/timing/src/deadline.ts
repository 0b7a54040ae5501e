/** The time was over first. */
export class TooLate extends Error {
  override readonly name = 'TooLate';

  constructor(readonly timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms`);
  }
}

/**
 * Waits for the work, no longer than the time-out. What becomes of work that comes too late is nobody's concern.
 * @param late what to do when the time is over: it gives another result or throws; by default it throws TooLate
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
