import { waitFor } from '@weir/testing';
import { describe, expect, it } from 'vitest';
import { NO_STATS, type AttemptEnd, type AttemptListener } from './attempt.js';
import { Relay, type RelayOutcome, type RelayStatus } from './relay.js';

const RETRY = { maxRetries: 2, minPauseMs: 1, maxPauseMs: 4, stableMs: 1_000_000 };
const LOST: AttemptEnd = { tag: 'remote', end: { tag: 'lost', code: 1006 } };
const FORBIDDEN: AttemptEnd = { tag: 'address-refused', reason: 'address', subject: '10.0.0.1' };

const newRelay = (resumed?: { retries: number; reason: string }, retry = RETRY) => {
  const attempts: AttemptListener[] = [];
  const statuses: RelayStatus[] = [];
  const outcomes: RelayOutcome[] = [];
  let stops = 0;
  let silentMs = 0;
  const relay = new Relay({
    attempt: (listener) => {
      attempts.push(listener);
      return {
        localMediaSessionId: `local ${attempts.length}`,
        remoteMediaSessionId: `remote ${attempts.length}`,
        get stats() {
          return { ...NO_STATS, silentMs };
        },
        start: () => undefined,
        stop: () => {
          stops += 1;
          listener.ended({ tag: 'stopped' });
        },
      };
    },
    retry,
    resumed,
    random: () => 0.5,
    changed: (status) => statuses.push(status),
    over: (outcome) => outcomes.push(outcome),
  });
  relay.start();
  const phases = () => statuses.map(({ phase }) => phase);
  const attempt = async (number: number): Promise<AttemptListener> => {
    await waitFor(() => attempts.length >= number);
    const listener = attempts[number - 1];
    if (listener === undefined) throw new Error('unreachable');
    return listener;
  };
  const silentFor = (ms: number) => {
    silentMs = ms;
  };
  return { relay, attempt, attempts, outcomes, statuses, phases, stops: () => stops, silentFor };
};

describe('a relay', () => {
  it('is agreed on, runs, and ends with its stream', async () => {
    const { relay, attempt, outcomes, phases } = newRelay();
    const first = await attempt(1);
    first.accepted([]);
    expect(await relay.agreed).toBeUndefined();
    first.running();
    expect(phases()).toEqual(['new', 'running']);
    const end: AttemptEnd = { tag: 'remote', end: { tag: 'ended-by-remote', status: 'UNPUBLISHED', info: '' } };
    first.ended(end);
    expect(outcomes).toEqual([{ tag: 'finished', end }]);
  });

  it('that was never agreed on isn’t tried again', async () => {
    const { relay, attempt, attempts, outcomes } = newRelay();
    (await attempt(1)).ended(LOST);
    expect(await relay.agreed).toEqual(LOST);
    expect(outcomes).toEqual([{ tag: 'failed', end: LOST }]);
    expect(attempts).toHaveLength(1);
  });

  it('that breaks is tried again, and fails when its retries are used up', async () => {
    const { attempt, outcomes, statuses, phases } = newRelay();
    const first = await attempt(1);
    first.accepted([]);
    first.running();
    first.ended(LOST);
    (await attempt(2)).ended(LOST);
    (await attempt(3)).ended(LOST);
    expect(outcomes).toEqual([{ tag: 'failed', end: LOST }]);
    expect(phases()).toEqual(['new', 'running', 'waiting', 'waiting', 'waiting', 'waiting', 'failed']);
    expect(statuses.at(-1)).toEqual({
      ...{ phase: 'failed', retries: 2, reason: 'The connection to the server was lost (1006)' },
      ...{ notCarried: [], localMediaSessionId: null, remoteMediaSessionId: null },
    });
  });

  it('that has run for a while has all its retries again', async () => {
    const { attempt, statuses } = newRelay({ retries: 2, reason: 'x' }, { ...RETRY, stableMs: 0 });
    const first = await attempt(1);
    first.running();
    first.ended(LOST);
    (await attempt(2)).accepted([]);
    expect(statuses.at(-1)?.retries).toBe(1);
  });

  it('waits while its server is silent, and is running again as soon as it isn’t', async () => {
    const { relay, attempt, silentFor } = newRelay();
    const first = await attempt(1);
    silentFor(5_000);
    expect(relay.status).toMatchObject({ phase: 'new', reason: '' });
    silentFor(2_900);
    first.accepted([]);
    first.running();
    expect(relay.status).toMatchObject({ phase: 'running', reason: '', localMediaSessionId: 'local 1' });
    silentFor(3_000);
    expect(relay.status).toMatchObject({ phase: 'waiting', reason: 'Nothing comes from the server any more' });
    expect(relay.status).toMatchObject({ localMediaSessionId: 'local 1', remoteMediaSessionId: 'remote 1' });
    silentFor(10);
    expect(relay.status).toMatchObject({ phase: 'running', reason: '' });
  });

  it('isn’t tried again when that can’t help', async () => {
    const { attempt, attempts, outcomes } = newRelay({ retries: 0, reason: '' });
    (await attempt(1)).ended(FORBIDDEN);
    expect(outcomes).toEqual([{ tag: 'failed', end: FORBIDDEN }]);
    expect(attempts).toHaveLength(1);
  });

  it('goes on after another instance with the retries that are left', async () => {
    const { relay, attempt, outcomes } = newRelay({ retries: 1, reason: 'lost' });
    expect(relay.status.phase).toBe('waiting');
    (await attempt(1)).ended(LOST);
    (await attempt(2)).ended(LOST);
    expect(outcomes).toEqual([{ tag: 'failed', end: LOST }]);
  });

  it('is stopped in each state, once', async () => {
    const trying = newRelay();
    await trying.attempt(1);
    await Promise.all([trying.relay.stop('finish'), trying.relay.stop('finish')]);
    expect(trying.stops()).toBe(1);
    expect(trying.outcomes).toEqual([{ tag: 'finished', end: { tag: 'stopped' } }]);
    expect(await trying.relay.agreed).toEqual({ tag: 'stopped' });

    const waiting = newRelay({ retries: 0, reason: '' }, { ...RETRY, minPauseMs: 1_000_000, maxPauseMs: 1_000_000 });
    (await waiting.attempt(1)).ended(LOST);
    expect(waiting.relay.status.phase).toBe('waiting');
    await waiting.relay.stop('finish');
    expect(waiting.outcomes).toHaveLength(1);
    await waiting.relay.stop('finish');
    expect(waiting.outcomes).toHaveLength(1);
  });

  it('is released for another instance without being finished', async () => {
    const { relay, attempt, outcomes } = newRelay();
    await attempt(1);
    await relay.stop('release');
    expect(outcomes).toEqual([{ tag: 'released' }]);
  });
});
