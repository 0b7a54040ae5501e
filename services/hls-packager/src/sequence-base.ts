/** 2020-01-01. */
export const EPOCH_MS = 1_577_836_800_000;
/** Segments are longer on the average, so that a later start always begins above all numbers of an earlier one. */
const MS_PER_NUMBER = 250;

/**
 * The number of a playlist's first segment, and of its first initialisation segment. A playlist's numbers may not go backwards at one address, and a service that
 * was killed remembers none, so they are made of the time. They fit into 31 bits until 2037, for players that have no more.
 */
export const firstMediaSequence = (nowMs: number): number =>
  Math.max(1, Math.floor((nowMs - EPOCH_MS) / MS_PER_NUMBER));
