import { describe, expect, it } from 'vitest';
import { Health } from './health.js';

describe('Health', () => {
  it('is ok while every check passes', async () => {
    const health = new Health();
    health.check('a', () => undefined);
    health.check('b', async () => undefined);
    expect(await health.report()).toEqual({ status: 'ok', checks: { a: { status: 'ok' }, b: { status: 'ok' } } });
  });

  it('is unavailable with the reason of the check that fails', async () => {
    const health = new Health();
    health.check('a', () => undefined);
    health.check('b', () => {
      throw new Error('no connection');
    });
    expect(await health.report()).toEqual({
      status: 'unavailable',
      checks: { a: { status: 'ok' }, b: { status: 'unavailable', reason: 'no connection' } },
    });
  });

  it('does not wait for a check that hangs', async () => {
    const health = new Health();
    health.check('hangs', () => new Promise<void>(() => undefined));
    const report = await health.report();
    expect(report.checks['hangs']).toEqual({ status: 'unavailable', reason: 'no answer within 1000 ms' });
  });

  it('is unavailable as soon as the drain starts', async () => {
    const health = new Health();
    health.drain('the service is stopping');
    expect(await health.report()).toEqual({
      status: 'unavailable',
      checks: { drain: { status: 'unavailable', reason: 'the service is stopping' } },
    });
  });
});
