/** How the pauses between tries grow. */
export interface Pace {
  readonly firstMs: number;
  readonly maxMs: number;
  /** From one pause to the next. Default 2. */
  readonly factor?: number;
}

const MAX_GROWTHS = 30;

/**
 * The pause before the next try.
 * @param pauses that there were before since the last success
 * @param random uniform in [0, 1): the pause is between half and the whole of its step, so that those that failed
 *   together don't come back together; the whole without it
 */
export const backOffMs = ({ firstMs, maxMs, factor = 2 }: Pace, pauses: number, random = 1): number =>
  Math.round(Math.min(maxMs, firstMs * factor ** Math.min(pauses, MAX_GROWTHS)) * (0.5 + random / 2));
