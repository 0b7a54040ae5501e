import { waitFor } from '@weir/testing';
import { describe, expect, it } from 'vitest';
import type { PushedMessage } from './messages.js';
import { APP, type TestDevice } from './testing/device.js';
import { twoBrokers } from './testing/two-brokers.js';

const MAX_STORED = 40;

const pair = twoBrokers(2_000, { WEIR_CALLS_MAX_STORED_MESSAGES: String(MAX_STORED) });

const message = (text: string, { flag = 2, to = pair.cid, from = 0 }: Partial<PushedMessage> = {}): PushedMessage => ({
  ...{ to, from, flag },
  msg: Buffer.from(text).toString('base64'),
});
const push = (text: string, options: Partial<PushedMessage> = {}, at = pair.here) =>
  at.service.messages.accept({ app: APP, messages: [message(text, options)] });
const stored = () => pair.here.service.apps.database.deviceMessage.count({ where: { cid: BigInt(pair.cid) } });
const isAcknowledged = () => waitFor(async () => (await stored()) === 0, { what: 'the acknowledgement' });
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, index) => `m${from + index}`);

describe('a message with flag 2', () => {
  it.each([
    ['the same instance', () => pair.here],
    ['another instance', () => pair.there],
  ])('reaches a device on %s, and is forgotten when it is acknowledged', async (_where, at) => {
    const phone = await pair.device(at(), { acknowledges: false });
    await waitFor(async () => (await pair.here.service.channels.presences([pair.cid])).has(pair.cid));
    await push('hello', { from: 1_234 });
    await phone.hears(1);
    const [event] = phone.events;
    const Message = Buffer.from('hello').toString('base64');
    expect(event).toEqual({
      ...{ Name: 'PopMessage', Message, SrcID: 1_234, name: 'PopMessage', message: Message },
      id: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    });
    expect(await stored()).toBe(1);
    phone.ask({ type: 'ack', id: (event as { id: string }).id });
    await isAcknowledged();
  });

  it('is sent again under its id until it is acknowledged', async () => {
    const phone = await pair.device(pair.here, { acknowledges: false });
    await push('again');
    await phone.hears(3);
    const ids = new Set(phone.events.map((event) => 'id' in event && event.id));
    expect([ids.size, new Set(phone.messages())]).toEqual([1, new Set(['PopMessage again from 0'])]);
  });

  it('waits for a device that is away, in its order, and comes as one that was stored', async () => {
    for (const text of numbers(10)) await push(text, {}, text.endsWith('3') ? pair.there : pair.here);
    const phone = await pair.device(pair.there);
    await phone.hears(10);
    await push('live');
    await phone.hears(11);
    expect(phone.messages()).toEqual([
      ...numbers(10).map((text) => `PopOffLineMessage ${text} from 0`),
      'PopMessage live from 0',
    ]);
    await isAcknowledged();
  });

  it('that was not acknowledged comes again at the next log-in, on whichever instance', async () => {
    const deaf = await pair.device(pair.here, { acknowledges: false });
    for (const text of numbers(3)) await push(text);
    await deaf.hears(3);
    const [, second] = deaf.events;
    deaf.ask({ type: 'ack', id: (second as { id: string }).id });
    await waitFor(async () => (await stored()) === 2);
    deaf.end();
    const phone = await pair.device(pair.there);
    await phone.hears(2);
    expect(phone.messages()).toEqual(['PopOffLineMessage m0 from 0', 'PopOffLineMessage m2 from 0']);
    await isAcknowledged();
  });

  it('is not acknowledged by another device', async () => {
    const phone = await pair.device(pair.here, { acknowledges: false });
    const other = await pair.device(pair.here, {}, pair.cid + 50_000);
    await push('mine');
    await phone.hears(1);
    other.ask({ type: 'ack', id: (phone.events[0] as { id: string }).id });
    other.ask({ type: 'ping' });
    await other.hears(1);
    await pair.here.service.messages.close();
    expect(await stored()).toBe(1);
    await pair.here.stop();
  });

  it('is forgotten, whatever other devices acknowledge', async () => {
    const other = await pair.device(pair.here, {}, pair.cid + 50_000);
    for (const id of ['a\0b', '\ud800', '\u2028', '__proto__', "');"]) other.ask({ type: 'ack', id });
    other.ask({ type: 'ping' });
    await waitFor(() => other.events.some((event) => 'type' in event && event.type === 'pong'));
    const phone = await pair.device(pair.here);
    await push('mine');
    await phone.hears(1);
    await isAcknowledged();
  });

  it('goes to many devices at once, and several go to one in their order', async () => {
    const [one, two] = await Promise.all([pair.device(pair.here), pair.device(pair.there, {}, pair.cid + 50_000)]);
    const accepted = await pair.here.service.messages.accept({
      app: APP,
      messages: [message('a'), message('b', { to: two.cid }), message('c'), message('d', { to: two.cid })],
    });
    expect(accepted).toEqual({ tag: 'accepted' });
    await Promise.all([one.hears(2), two.hears(2)]);
    const texts = (of: TestDevice) => of.messages().map((words) => words.split(' ')[1]);
    expect([texts(one), texts(two)]).toEqual([
      ['a', 'c'],
      ['b', 'd'],
    ]);
  });

  it('is refused with all others of its push when too many wait for the device', async () => {
    for (const text of numbers(MAX_STORED - 1)) await push(text);
    const other = pair.cid + 50_000;
    const full = await pair.here.service.messages.accept({
      app: APP,
      messages: [message('x', { to: other }), message('y'), message('z')],
    });
    expect(full).toEqual({ tag: 'full', cids: [pair.cid] });
    expect(await pair.here.service.apps.database.deviceMessage.count({ where: { cid: BigInt(other) } })).toBe(0);
    expect(await push('last')).toEqual({ tag: 'accepted' });
    expect(await push('one too many')).toEqual({ tag: 'full', cids: [pair.cid] });
    const phone = await pair.device();
    await phone.hears(MAX_STORED);
    await isAcknowledged();
    expect(await push('room again')).toEqual({ tag: 'accepted' });
  });

  it('is stored once if its push is repeated under its name, and by many at the same time', async () => {
    const named = { app: APP, id: `push ${pair.cid}`, messages: [message('once')] };
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? pair.here : pair.there).service.messages.accept(named),
      ),
    );
    expect(answers.every(({ tag }) => tag === 'accepted')).toBe(true);
    const phone = await pair.device();
    await phone.hears(1);
    await isAcknowledged();
    expect(await pair.here.service.messages.accept(named)).toEqual({ tag: 'accepted' });
    expect(await stored()).toBe(0);
  });

  it('keeps its order among those of many that push at once', async () => {
    const phone = await pair.device(pair.there);
    const senders = Array.from({ length: 8 }, (_, index) => 3_000 + index);
    await Promise.all(
      senders.map(async (from) => {
        for (const text of numbers(5)) await push(text, { from }, from % 2 === 0 ? pair.here : pair.there);
      }),
    );
    await phone.hears(40);
    for (const from of senders)
      expect(phone.messages().filter((words) => words.endsWith(String(from)))).toEqual(
        numbers(5).map((text) => `PopMessage ${text} from ${from}`),
      );
  });

  it('that is a day old is forgotten', async () => {
    await push('old');
    await push('young');
    await pair.here.service.apps.database.$executeRaw`
      UPDATE "DeviceMessage" SET "createdAt" = now() - interval '24 hours 1 second'
       WHERE cid = ${BigInt(pair.cid)} AND place = (SELECT min(place) FROM "DeviceMessage" WHERE cid = ${BigInt(pair.cid)})`;
    const phone = await pair.device();
    await phone.hears(1);
    expect(phone.messages()).toEqual(['PopOffLineMessage young from 0']);
  });

  it('of a device that has gone to another app is not delivered to it', async () => {
    await push('for the old owner');
    await pair.here.service.apps.database.deviceMessage.updateMany({
      where: { cid: BigInt(pair.cid) },
      data: { appId: 'gone' },
    });
    const phone = await pair.device();
    await push('for the new owner');
    await phone.hears(1);
    expect(phone.messages().map((words) => words.split(' ')[3])).toEqual(['new']);
  });
});

describe('a message with flag 3', () => {
  it.each([
    ['the same instance', () => pair.here],
    ['another instance', () => pair.there],
  ])('is sent once, without an id, to a device on %s, and dropped for one that is away', async (_where, at) => {
    await push('into the void', { flag: 3 });
    const phone = await pair.device(at());
    await waitFor(async () => (await pair.here.service.channels.presences([pair.cid])).has(pair.cid));
    await push('hello', { flag: 3 });
    await push('stored', { flag: 2 });
    await phone.hears(2);
    expect(phone.messages()).toEqual(['PopMessage hello from 0', 'PopMessage stored from 0']);
    expect(phone.events[0]).not.toHaveProperty('id');
  });
});

describe('messages survive', () => {
  it('the end of the instance that has accepted them, and of the one that delivers them', async () => {
    const deaf = await pair.device(pair.there, { acknowledges: false });
    for (const text of numbers(5)) await push(text);
    await deaf.hears(5);
    await Promise.all([pair.here.crash(), pair.there.crash()]);
    pair.here = await pair.startOne();
    const phone = await pair.device(pair.here);
    await phone.hears(5);
    expect(phone.messages()).toEqual(numbers(5).map((text) => `PopOffLineMessage ${text} from 0`));
    await isAcknowledged();
  }, 30_000);

  it('a restart of PostgreSQL: what was accepted arrives, once and in order, and what was not is refused', async () => {
    const phone = await pair.device(pair.there);
    const accepted: string[] = [];
    const pushing = (async () => {
      for (const text of numbers(60)) {
        try {
          if ((await push(text)).tag === 'accepted') accepted.push(text);
        } catch {
          // The message may be stored: the caller wasn't told.
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      }
    })();
    await phone.hears(5);
    await pair.around.postgres.kill();
    await pair.around.postgres.restart();
    await pushing;
    expect(accepted.length).toBeGreaterThan(10);
    await waitFor(async () => (await stored().catch(() => 1)) === 0, { timeoutMs: 20_000 });
    const ids = new Set<string>();
    const texts = phone.events.flatMap((event) => {
      if (!('Name' in event) || event.id === undefined || ids.has(event.id)) return [];
      ids.add(event.id);
      return [Buffer.from(event.Message, 'base64').toString()];
    });
    expect(texts.filter((text) => accepted.includes(text))).toEqual(accepted);
  }, 60_000);

  it.each([
    ['NATS', () => pair.around.nats],
    ['Redis', () => pair.around.redis],
  ])(
    'a restart of %s, and arrive on the other instance',
    async (_what, server) => {
      const phone = await pair.device(pair.there);
      await push('before');
      await phone.hears(1);
      await server().kill();
      for (const text of numbers(3)) await push(text);
      await server().restart();
      await phone.hears(4);
      expect(phone.messages()).toEqual(['before', ...numbers(3)].map((text) => `PopMessage ${text} from 0`));
      expect(phone.closeCode).toBeUndefined();
    },
    40_000,
  );
});
