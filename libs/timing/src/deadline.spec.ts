import { describe, expect, it } from 'vitest';
import { TooLate, within } from './deadline.js';

const never = new Promise<string>(() => undefined);

describe('a deadline', () => {
  it('passes on the result or error of work that ends in time', async () => {
    expect(await within(60_000, Promise.resolve('done'))).toBe('done');
    await expect(within(60_000, Promise.reject(new Error('refused')))).rejects.toThrow('refused');
  });

  it('leaves no timer behind', async () => {
    const timers = () => process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length;
    const before = timers();
    await within(60_000, Promise.resolve('done'));
    await within(60_000, Promise.reject(new Error('refused'))).catch(() => undefined);
    expect(timers()).toBe(before);
  });

  it('throws when the time is over, and tells how long it was', async () => {
    const waiting = within(5, never);
    await expect(waiting).rejects.toThrow(TooLate);
    await expect(waiting).rejects.toThrow('no answer within 5 ms');
  });

  it('returns or throws what the caller chose instead', async () => {
    expect(await within(5, never, () => undefined)).toBeUndefined();
    const refusing = within(5, never, () => {
      throw new Error('the camera is silent');
    });
    await expect(refusing).rejects.toThrow('the camera is silent');
  });

  it('swallows the error of work that comes too late', async () => {
    let fail: (error: Error) => void = () => undefined;
    const work = new Promise<string>((_resolve, reject) => {
      fail = reject;
    });
    expect(await within(1, work, () => 'late')).toBe('late');
    fail(new Error('nobody waits'));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
