import { startPostgres, type TestServer } from '@weir/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { RelayStatus } from './relay.js';
import { RelayStore, type RelayRow } from './store.js';

let postgres: TestServer;
let store: RelayStore;

beforeAll(async () => {
  postgres = await startPostgres();
  store = await RelayStore.open(postgres.url, { info: () => undefined, warn: () => undefined });
}, 60_000);
afterAll(async () => {
  await store.close();
  await postgres.stop();
});

const running = (reason: string): RelayStatus => ({
  ...{ phase: 'running', reason, retries: 0, notCarried: [] },
  ...{ localMediaSessionId: null, remoteMediaSessionId: null },
});

const added = async (id: string): Promise<RelayRow> => {
  const request = {
    tenant: id,
    direction: 'push',
    uri: 'ws://far/',
    localStreamName: 'a',
    remoteStreamName: 'b',
  } as const;
  const row = await store.add(id, request, { owner: 'paused', epoch: 5n });
  if (row === undefined) throw new Error('there is such a relay already');
  return row;
};

it('protects what the new owner of a relay has written from the owner that was paused', async () => {
  const row = await added('r1');
  expect(await store.take(row, { owner: 'heir', epoch: 9n })).toMatchObject({ id: 'r1', owner: 'heir', epoch: 9n });
  await store.save('r1', 9n, running('by the heir'));
  await store.save('r1', 5n, running('by the paused'));
  await store.remove('r1', 5n);
  expect(await store.list('r1')).toMatchObject([{ owner: 'heir', reason: 'by the heir' }]);
  await store.remove('r1', 9n);
  expect(await store.list('r1')).toEqual([]);
});

it('gives a relay to only one of two instances that have found it left behind', async () => {
  const row = await added('r2');
  expect(await store.take(row, { owner: 'heir', epoch: 9n })).toBeDefined();
  expect(await store.take(row, { owner: 'late', epoch: 7n })).toBeUndefined();
  expect(await store.list('r2')).toMatchObject([{ owner: 'heir', epoch: 9n }]);
});
