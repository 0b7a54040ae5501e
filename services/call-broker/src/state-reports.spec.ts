import { setTimeout as sleep } from 'node:timers/promises';
import { createLogger } from '@weir/platform';
import { waitFor } from '@weir/testing';
import { expect, it } from 'vitest';
import type { StateChange } from './device-channels.js';
import { StateReports } from './state-reports.js';

const log = createLogger('spec', 'spec-1', process.env['TEST_LOG_LEVEL'] ?? 'silent');

/** Stands in for the outbox. */
class Written {
  readonly states: string[] = [];
  isAway = false;
  #running = 0;
  mostAtOnce = 0;

  readonly write = async ({ cid, state }: StateChange): Promise<void> => {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.#running);
    await sleep(1);
    this.#running--;
    if (this.isAway) throw new Error('the database is away');
    this.states.push(`${cid}: ${state}`);
  };
}

const change = (cid: number, state: StateChange['state']): StateChange => ({
  ...{ cid, state, epoch: 1n, presence: undefined },
});

it('writes all changes, those of each device in their order, and not too many at the same time', async () => {
  const written = new Written();
  const reports = new StateReports({ write: written.write, log });
  for (let cid = 0; cid < 50; cid++) for (const state of [1, 4, 1, 0] as const) reports.add(change(cid, state));
  await reports.close();
  expect(written.states).toHaveLength(200);
  for (let cid = 0; cid < 50; cid++)
    expect(written.states.filter((text) => text.startsWith(`${cid}: `))).toEqual(
      [1, 4, 1, 0].map((state) => `${cid}: ${state}`),
    );
  expect(written.mostAtOnce).toBeLessThanOrEqual(8);
});

it('keeps what can’t be written now and writes it later, in order', async () => {
  const written = new Written();
  written.isAway = true;
  const reports = new StateReports({ write: written.write, log });
  for (const state of [1, 4] as const) reports.add(change(7, state));
  await sleep(50);
  reports.add(change(7, 0));
  expect(written.states).toEqual([]);
  written.isAway = false;
  await waitFor(() => written.states.length === 3);
  expect(written.states).toEqual(['7: 1', '7: 4', '7: 0']);
  await reports.close();
});

it('keeps only the newest change of a device when too many wait', async () => {
  const written = new Written();
  written.isAway = true;
  const reports = new StateReports({ write: written.write, maxWaiting: 3, log });
  for (const state of [1, 4, 1] as const) reports.add(change(7, state));
  for (const state of [1, 0] as const) reports.add(change(8, state));
  reports.add(change(7, 0));
  await sleep(50);
  written.isAway = false;
  await waitFor(() => written.states.length === 2);
  await reports.close();
  expect(written.states.toSorted()).toEqual(['7: 0', '8: 0']);
});

it('tries once more when it closes, and gives up if the database is still away', async () => {
  const written = new Written();
  written.isAway = true;
  const reports = new StateReports({ write: written.write, log });
  reports.add(change(7, 1));
  await sleep(10);
  await reports.close();
  written.isAway = false;
  await sleep(20);
  expect(written.states).toEqual([]);
});
