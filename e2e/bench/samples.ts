/** The summary of a series of measurements. */
export interface Summary {
  count: number;
  min: number;
  p50: number;
  p99: number;
  max: number;
}

/** @param share of the samples that are at most as large as the result, 0 to 1; interpolates between two samples */
export function quantile(samples: readonly number[], share: number): number {
  if (samples.length === 0) throw new RangeError('no samples');
  const sorted = [...samples].sort((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)] ?? 0;
  const above = sorted[Math.ceil(position)] ?? 0;
  return below + (above - below) * (position - Math.floor(position));
}

export const median = (samples: readonly number[]): number => quantile(samples, 0.5);

export const summarize = (samples: readonly number[]): Summary => ({
  count: samples.length,
  min: quantile(samples, 0),
  p50: median(samples),
  p99: quantile(samples, 0.99),
  max: quantile(samples, 1),
});

export const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
