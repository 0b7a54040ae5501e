export interface FrameLimits {
  /** How many frames above the rate may arrive at once. */
  readonly frameBurst: number;
  readonly framesPerSecond: number;
}

/** How many frames a client may still send at once, and how many malformed ones it has sent. */
export interface Allowance {
  readonly tokens: number;
  readonly refilledAtMs: number;
  readonly malformed: number;
}

export const fullAllowance = ({ frameBurst }: FrameLimits, nowMs: number): Allowance => ({
  tokens: frameBurst,
  refilledAtMs: nowMs,
  malformed: 0,
});

/**
 * What is left after a frame; undefined if that frame was one too many.
 *
 * @param cost 1 for a short frame
 */
export const charged = (
  allowance: Allowance,
  cost: number,
  { frameBurst, framesPerSecond }: FrameLimits,
  nowMs: number,
): Allowance | undefined => {
  const elapsedMs = Math.max(0, nowMs - allowance.refilledAtMs);
  const refilled = Math.min(frameBurst, allowance.tokens + (elapsedMs / 1_000) * framesPerSecond);
  const tokens = refilled - cost;
  return tokens < 0 ? undefined : { ...allowance, tokens, refilledAtMs: nowMs };
};
