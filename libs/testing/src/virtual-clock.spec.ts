import { describe, expect, it } from 'vitest';
import { VirtualClock } from './virtual-clock.js';
import { waitFor } from './wait-for.js';

describe('a virtual clock', () => {
  it('runs timers in the order of their times, each at its own time', () => {
    const clock = new VirtualClock(0);
    const runs: string[] = [];
    clock.after(30, () => runs.push(`c at ${clock.nowMs()}`));
    clock.after(10, () => runs.push(`a at ${clock.nowMs()}`));
    clock.after(10, () => runs.push(`b at ${clock.nowMs()}`));
    clock.advance(29);
    expect(runs).toEqual(['a at 10', 'b at 10']);
    clock.advance(1);
    expect(runs).toEqual(['a at 10', 'b at 10', 'c at 30']);
  });

  it('runs a timer that is set during an advance if it becomes due during that advance', () => {
    const clock = new VirtualClock(0);
    const runs: number[] = [];
    const tick = (): void => {
      runs.push(clock.nowMs());
      clock.after(10, tick);
    };
    clock.after(10, tick);
    clock.advance(35);
    expect(runs).toEqual([10, 20, 30]);
    expect(clock.nowMs()).toBe(35);
  });

  it("doesn't run a cancelled timer", () => {
    const clock = new VirtualClock(0);
    const cancel = clock.after(10, () => expect.unreachable());
    cancel();
    clock.advance(20);
    expect(clock.pending).toBe(0);
  });
});

describe('waitFor', () => {
  it('returns the first answer', async () => {
    let asked = 0;
    expect(await waitFor(() => (++asked === 3 ? 0 : undefined), { intervalMs: 1 })).toBe(0);
    expect(asked).toBe(3);
  });

  it("names what didn't come about, and why", async () => {
    const waiting = waitFor(
      () => {
        throw new Error('not yet');
      },
      { timeoutMs: 5, intervalMs: 1, what: 'the robot' },
    );
    await expect(waiting).rejects.toMatchObject({ message: /^the robot didn't/, cause: { message: 'not yet' } });
  });
});
