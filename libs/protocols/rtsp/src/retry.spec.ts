import { describe, expect, it } from 'vitest';
import { retryDelayMs } from './retry.js';

const FAULT = { tag: 'closed-by-server' } as const;

describe('the delay before pulling again', () => {
  it('doubles with every failure up to half a minute', () => {
    const delays = [1, 2, 3, 4, 5, 6, 7, 8, 100].map((attempt) => retryDelayMs(FAULT, attempt, 0.999_999));
    expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  });

  it('is spread over the upper half of its step', () => {
    expect([0, 0.5].map((jitter) => retryDelayMs(FAULT, 3, jitter))).toEqual([1000, 1500]);
  });

  it('is a minute when the camera said no, whichever attempt', () => {
    for (const reason of [{ tag: 'unauthorised' }, { tag: 'refused', method: 'DESCRIBE', status: 404 }] as const) {
      expect([1, 9].map((attempt) => retryDelayMs(reason, attempt, 0))).toEqual([30_000, 30_000]);
    }
  });

  it('is none when the guard refused or the host stopped', () => {
    expect(retryDelayMs({ tag: 'guarded' }, 1, 0)).toBeUndefined();
    expect(retryDelayMs({ tag: 'stopped' }, 1, 0)).toBeUndefined();
  });
});
