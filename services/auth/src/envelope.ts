/**
 * Clients treat 100 to 110 as final and retry after anything else, so a failure that may pass has a number outside that
 * range: its HTTP status.
 */
export const EC = { input: 103, forbidden: 105, logic: 106, limited: 429, unavailable: 503 } as const;

const HOUR_MS = 60 * 60 * 1000;
const twoDigits = (value: number): string => String(Math.abs(value)).padStart(2, '0');

/** `2020-05-09 14:35:41.748447+08`: local time in the zone, six decimals of the second, the zone in whole hours. */
export const expireText = (atMs: number, offsetHours: number): string => {
  const local = new Date(atMs + offsetHours * HOUR_MS).toISOString();
  const sign = offsetHours < 0 ? '-' : '+';
  return `${local.slice(0, 10)} ${local.slice(11, 23)}000${sign}${twoDigits(offsetHours)}`;
};
