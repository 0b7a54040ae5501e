const MAX_MS = 24 * 3_600_000;

/**
 * How long the answer asks to wait (RFC 9110, 10.2.3: seconds or a date). At most a day; undefined if it doesn't ask or
 * can't be understood.
 */
export const retryAfterMs = (headers: { get(name: string): string | null }, nowMs: number): number | undefined => {
  const text = headers.get('retry-after')?.trim() ?? '';
  if (/^\d{1,9}$/.test(text)) return Math.min(MAX_MS, Number(text) * 1_000);
  const atMs = /^[A-Z][a-z]{2},? /.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(atMs) ? undefined : Math.min(MAX_MS, Math.max(0, atMs - nowMs));
};
