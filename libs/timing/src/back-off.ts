/** How the pauses between tries grow. */
export interface Pace {
  readonly firstMs: number;
  readonly maxMs: number;
  /** The factor from one pause to the next; 2 by default. */
  readonly factor?: number;
}

const MAX_GROWTHS = 30;

/**
 * Returns the pause before the next try.
 * @param pauses how many pauses there were since the last success
 * @param random uniform in [0, 1): the pause is between half and all of its step, so that callers that failed together
 *   don't retry together; by default it is the whole step
 */
export const backOffMs = ({ firstMs, maxMs, factor = 2 }: Pace, pauses: number, random = 1): number =>
  Math.round(Math.min(maxMs, firstMs * factor ** Math.min(pauses, MAX_GROWTHS)) * (0.5 + random / 2));
