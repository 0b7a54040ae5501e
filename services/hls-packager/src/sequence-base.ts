/** 2020-01-01. */
export const EPOCH_MS = 1_577_836_800_000;
/** Segments are longer than this on average, so that a later start begins above all numbers of an earlier one. */
const MS_PER_NUMBER = 250;

/**
 * The number of a playlist's first segment, and of its first initialisation segment. A playlist's numbers at one
 * address mustn't go backwards, and a killed service remembers none, so they are made from the time. They fit in 31
 * bits until 2037, because some players have no more.
 */
export const firstMediaSequence = (nowMs: number): number =>
  Math.max(1, Math.floor((nowMs - EPOCH_MS) / MS_PER_NUMBER));
