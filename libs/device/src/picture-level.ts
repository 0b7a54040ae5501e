/** How good the picture is that a device sends: on a poor path it gives way before the sound. */
export interface PictureLevel {
  /** Index into `PICTURE_LEVELS`. */
  readonly level: number;
  /** How many good measurements there were in a row. */
  readonly goodInRow: number;
}

/** From the best to none. */
export const PICTURE_LEVELS: readonly { readonly maxBitrateBps: number; readonly isSent: boolean }[] = [
  { maxBitrateBps: 1_500_000, isSent: true },
  { maxBitrateBps: 400_000, isSent: true },
  { maxBitrateBps: 120_000, isSent: true },
  { maxBitrateBps: 120_000, isSent: false },
];

export const BEST_PICTURE: PictureLevel = { level: 0, goodInRow: 0 };

const POOR_LOSS = 0.1;
const GOOD_LOSS = 0.03;
/** A step up needs this many good measurements, so that it isn't taken back at once. */
const GOOD_BEFORE_STEP_UP = 3;

/**
 * The level after a measurement of what was sent.
 *
 * @param loss the share of the sent packets that were lost, 0 to 1
 */
export const pictureLevelAfter = ({ level, goodInRow }: PictureLevel, loss: number): PictureLevel => {
  if (loss >= POOR_LOSS) return { level: Math.min(level + 1, PICTURE_LEVELS.length - 1), goodInRow: 0 };
  if (loss > GOOD_LOSS || level === 0) return { level, goodInRow: 0 };
  return goodInRow + 1 < GOOD_BEFORE_STEP_UP ? { level, goodInRow: goodInRow + 1 } : { level: level - 1, goodInRow: 0 };
};
