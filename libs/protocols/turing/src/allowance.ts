import { LENGTH_PER_FRAME_COST, type FrameLimits } from './settings.js';

/** How many frames a peer may still send at once, and how many malformed ones it has sent. */
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

/** What is left after a frame of this length; undefined if that frame was one too many. */
export const charged = (
  allowance: Allowance,
  length: number,
  { frameBurst, framesPerSecond }: FrameLimits,
  nowMs: number,
): Allowance | undefined => {
  const elapsedMs = Math.max(0, nowMs - allowance.refilledAtMs);
  const refilled = Math.min(frameBurst, allowance.tokens + (elapsedMs / 1_000) * framesPerSecond);
  const tokens = refilled - 1 - Math.floor(length / LENGTH_PER_FRAME_COST);
  return tokens < 0 ? undefined : { ...allowance, tokens, refilledAtMs: nowMs };
};
