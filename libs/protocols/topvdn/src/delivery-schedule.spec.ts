import { describe, expect, it } from 'vitest';
import { dueAt, MAX_SENDINGS, MESSAGE_FLAG, RecentIds, sentFirst, type Delivery } from './index.js';

/** Asks every 100 ms, for a minute. @returns when the message was sent, in ms */
const sendings = (first: Delivery): { sentAtMs: number[]; end: Delivery } => {
  const sentAtMs = [0];
  let delivery = first;
  for (let nowMs = 0; nowMs <= 60_000; nowMs += 100) {
    const due = dueAt(delivery, nowMs);
    if (due.shouldSend) sentAtMs.push(nowMs);
    delivery = due.delivery;
  }
  return { sentAtMs, end: delivery };
};

describe('a message that must be acknowledged', () => {
  it('is sent again five times, after 1, 2, 3, 5 and 5 s, and is then stored', () => {
    const { sentAtMs, end } = sendings(sentFirst(MESSAGE_FLAG.acknowledged, 0));
    expect(sentAtMs).toEqual([0, 1_000, 3_000, 6_000, 11_000, 16_000]);
    expect(sentAtMs).toHaveLength(MAX_SENDINGS);
    expect(end).toEqual({ tag: 'stored' });
  });

  it('has the last pause to be acknowledged too', () => {
    let delivery = sentFirst(MESSAGE_FLAG.acknowledged, 0);
    for (const atMs of [1_000, 3_000, 6_000, 11_000, 16_000]) delivery = dueAt(delivery, atMs).delivery;
    expect(dueAt(delivery, 20_999).delivery.tag).toBe('waiting');
    expect(dueAt(delivery, 21_000)).toEqual({ delivery: { tag: 'stored' }, shouldSend: false });
  });

  it('is sent once when the time for several sendings has passed unnoticed', () => {
    const late = dueAt(sentFirst(MESSAGE_FLAG.acknowledged, 0), 100_000);
    expect(late.shouldSend).toBe(true);
    expect(dueAt(late.delivery, 100_000).shouldSend).toBe(false);
    expect(dueAt(late.delivery, 102_000).shouldSend).toBe(true);
  });
});

it('a message that is forwarded once is sent once', () => {
  expect(sendings(sentFirst(MESSAGE_FLAG.once, 0))).toEqual({ sentAtMs: [0], end: { tag: 'done' } });
});

it('an id that comes again is recognized while it is among the last ones', () => {
  const ids = new RecentIds(2);
  expect(['a', 'b', 'a', 'c', 'b', 'a'].map((id) => ids.note(id))).toEqual([true, true, false, true, false, true]);
});
