import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { awakeNowMs } from './awake-clock.js';

const blockTheLoop = (forMs: number): void => {
  const untilMs = performance.now() + forMs;
  while (performance.now() < untilMs);
};

it('goes on while the process is awake', async () => {
  const beganMs = awakeNowMs();
  await sleep(600);
  expect(awakeNowMs() - beganMs).toBeGreaterThan(400);
});

it('advances hardly at all while the event loop is blocked, whether read before or after the next tick', async () => {
  const beganMs = awakeNowMs();
  blockTheLoop(3_000);
  expect(awakeNowMs() - beganMs).toBeLessThan(1_100);
  await sleep(0);
  expect(awakeNowMs() - beganMs).toBeLessThan(1_100);
});
