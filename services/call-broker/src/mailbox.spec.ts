import { beforeEach, describe, expect, it } from 'vitest';
import { Mailbox } from './mailbox.js';
import type { StoredMessage } from './message-store.js';

const stored = (place: number): StoredMessage => ({
  ...{ id: `m${place}`, to: 1_000, from: 0, msg: 'aGk=', place: BigInt(place), ageMs: 0 },
});

/** What is in the database, and from which place on it was read. */
let database: StoredMessage[];
let reads: bigint[];
let sent: string[];
let mailbox: Mailbox;

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** The message is in the database, as it is when the mailbox hears of it. */
const store = (place: number): StoredMessage => {
  const message = stored(place);
  database.push(message);
  return message;
};

beforeEach(() => {
  [database, reads, sent] = [[], [], []];
  mailbox = new Mailbox({
    read: async (after, limit) => {
      reads.push(after);
      return database.filter(({ place }) => place > after).slice(0, limit);
    },
    isAcknowledged: () => false,
    send: (frame) => sent.push((JSON.parse(frame) as { id: string }).id),
    connectedForMs: () => 1_000,
    gaveUp: () => undefined,
    log: { warn: () => undefined },
  });
});

describe('a message that was stored just now', () => {
  it('is sent without being read if it is the next one', async () => {
    store(7);
    mailbox.wake();
    await settled();
    for (const place of [8, 9]) mailbox.stored(store(place));
    expect([sent, reads]).toEqual([['m7', 'm8', 'm9'], [0n]]);
  });

  it('is read if one before it was not sent yet, which goes first', async () => {
    store(1);
    mailbox.wake();
    await settled();
    const [second, third] = [store(2), store(3)];
    mailbox.stored(third);
    mailbox.stored(second);
    await settled();
    expect(sent).toEqual(['m1', 'm2', 'm3']);
  });

  it('is sent once, even if it was read before the mailbox heard of it', async () => {
    const first = store(1);
    mailbox.wake();
    mailbox.stored(first);
    await settled();
    mailbox.stored(first);
    await settled();
    expect(sent).toEqual(['m1']);
  });

  it('waits until a device that acknowledges nothing has room for it', async () => {
    const all = Array.from({ length: 130 }, (_, index) => store(index + 1));
    for (const message of all) mailbox.stored(message);
    await settled();
    expect(sent).toHaveLength(128);
    mailbox.acknowledged('m1');
    await settled();
    expect(sent).toEqual(all.slice(0, 129).map(({ id }) => id));
  });

  it('is not sent after the socket is closed', () => {
    mailbox.close();
    mailbox.stored(store(1));
    expect([sent, reads]).toEqual([[], []]);
  });
});
