import { describe, expect, it } from 'vitest';
import { Turnstile } from './turnstile.js';

describe('Turnstile', () => {
  it('lets a limited number in at once, and the others in the order in which they came', async () => {
    const turnstile = new Turnstile(2);
    const leaveFirst = await turnstile.enter(1_000);
    await turnstile.enter(1_000);
    const order: string[] = [];
    const third = turnstile.enter(1_000).then((leave) => {
      order.push('third');
      return leave;
    });
    const fourth = turnstile.enter(1_000).then(() => order.push('fourth'));
    await Promise.resolve();
    expect(order).toEqual([]);
    leaveFirst?.();
    // Leaving twice doesn't free a second place.
    leaveFirst?.();
    (await third)?.();
    await fourth;
    expect(order).toEqual(['third', 'fourth']);
  });

  it('refuses a client that has waited too long, and forgets it', async () => {
    const turnstile = new Turnstile(1);
    const leave = await turnstile.enter(1_000);
    expect(await turnstile.enter(10)).toBeUndefined();
    leave?.();
    expect(await turnstile.enter(10)).toBeTypeOf('function');
  });
});
