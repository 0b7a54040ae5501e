import { describe, expect, it } from 'vitest';
import { Slots } from './slots.js';

/** Work that ends when the test ends it. */
class Work {
  started = false;
  end: () => void = () => undefined;
  readonly run = (): Promise<void> => {
    this.started = true;
    return new Promise((resolve) => (this.end = resolve));
  };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('slots', () => {
  it('give a free slot to waiting work, not to work that arrives at that moment', async () => {
    const slots = new Slots(1);
    const [first, second, third] = [new Work(), new Work(), new Work()];
    const runs = [slots.run(first.run), slots.run(second.run)];
    first.end();
    await settled();
    runs.push(slots.run(third.run));
    await settled();
    expect([second.started, third.started]).toEqual([true, false]);
    second.end();
    await settled();
    expect(third.started).toBe(true);
    third.end();
    await Promise.all(runs);
  });

  it('are idle when the last work has ended, even if it failed', async () => {
    const slots = new Slots(2);
    await slots.idle();
    const work = new Work();
    const running = slots.run(work.run);
    const failing = slots.run(() => Promise.reject(new Error('no')));
    let idle = false;
    const waiting = slots.idle().then(() => (idle = true));
    await expect(failing).rejects.toThrow('no');
    await settled();
    expect(idle).toBe(false);
    work.end();
    await Promise.all([running, waiting]);
    expect(idle).toBe(true);
  });
});
