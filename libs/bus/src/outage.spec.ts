import { setTimeout as sleep } from 'node:timers/promises';
import { ErrorCode, type WeirError, isWeirError } from '@weir/contracts';
import { FaultyLink, waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Bus } from './bus.js';
import { Library, LibraryEvents } from './gen/fixture_pb.js';
import { Testbed } from './testbed.js';

const { lend, lendAtOnce, askShelf } = Library.method;
const { opened, bookMoved } = LibraryEvents.method;

let bed: Testbed;
let link: FaultyLink;
beforeAll(async () => {
  bed = await Testbed.start();
});
beforeEach(async () => {
  link = await FaultyLink.open({ port: bed.nats.port });
});
afterEach(async () => {
  await bed.clear();
  await link.close();
});
afterAll(() => bed.stop());

/** A bus over a connection that the test can disturb. */
const farBus = (pingIntervalMs?: number): Promise<Bus> =>
  bed.bus({ url: link.through(bed.nats.url), ...(pingIntervalMs === undefined ? {} : { pingIntervalMs }) });

const unavailable = (reason: string) =>
  expect.objectContaining({ code: ErrorCode.UNAVAILABLE, fields: expect.objectContaining({ reason }) });

const works = async (client: Bus): Promise<true> => {
  await client.call(lend, {}, { deadlineMs: 500 });
  return true;
};

/** The outcome of a call: `ok` or the code of its error. */
const outcome = (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'ok',
    (error: unknown) => (isWeirError(error) ? ErrorCode[error.code] : String(error)),
  );

describe('a slow link', () => {
  it('only delays calls: replies still match their calls, and events keep their order', async () => {
    const [client, server] = await Promise.all([farBus(), farBus()]);
    const heard: number[] = [];
    server.serve(lend, ({ copies }) => ({ copies }));
    server.subscribe(bookMoved, ({ step }) => void heard.push(step));
    await server.flush();
    link.delayMs = 25;
    const numbers = Array.from({ length: 30 }, (_none, index) => index);
    const replies = await Promise.all(
      numbers.map(async (copies) => {
        client.publish(bookMoved, { shelfId: server.instanceId, step: copies });
        link.delayMs = 5 + (copies % 4) * 10;
        return (await client.call(lend, { copies })).copies;
      }),
    );
    expect(replies).toEqual(numbers);
    await waitFor(() => heard.length === numbers.length);
    expect(heard).toEqual(numbers);
  });

  it('lets a call end by its deadline', async () => {
    const [client, server] = await Promise.all([farBus(), bed.bus()]);
    server.serve(lendAtOnce, () => ({}));
    await server.flush();
    link.delayMs = 200;
    await expect(client.call(lendAtOnce, {})).rejects.toMatchObject({ code: ErrorCode.DEADLINE });
    // The late reply matches no call and does no harm.
    link.delayMs = 0;
    await waitFor(async () => (await outcome(client.call(lendAtOnce, {}))) === 'ok');
  });
});

describe('a cut link', () => {
  it('fails pending calls at once', async () => {
    const [client, server] = await Promise.all([farBus(), bed.bus()]);
    let arrived = false;
    server.serve(lend, () => {
      arrived = true;
      return new Promise(() => undefined);
    });
    await server.flush();
    const call = client.call(lend, {});
    const failed = expect(call).rejects.toEqual(unavailable('connection_lost'));
    await waitFor(() => arrived);
    link.cut();
    await failed;
  });

  it('fails new calls at once, loses events, and is reported; after a reconnection all works again', async () => {
    const [client, server] = await Promise.all([farBus(), farBus()]);
    const changes: boolean[] = [];
    const heard: number[] = [];
    client.onConnectionChange((connected) => void changes.push(connected));
    const stopListening = client.onConnectionChange(() => expect.unreachable());
    stopListening();
    server.serve(lend, () => ({}));
    server.serve(askShelf, () => ({ answer: 'here' }));
    server.subscribe(bookMoved, ({ step }) => void heard.push(step));
    await server.flush();
    link.refuse();
    link.cut();
    await waitFor(() => !client.connected && !server.connected);
    await expect(client.call(lend, {})).rejects.toEqual(unavailable('disconnected'));
    client.publish(bookMoved, { shelfId: server.instanceId, step: 1 });
    await expect(client.flush()).rejects.toEqual(unavailable('disconnected'));
    // The bus tries again however often it is refused.
    await waitFor(() => link.refusals >= 8);
    link.accept();
    await waitFor(() => client.connected && server.connected);
    expect(changes).toEqual([false, true]);
    await waitFor(() => works(client));
    expect(await client.call(askShelf, { shelfId: server.instanceId })).toMatchObject({ answer: 'here' });
    client.publish(bookMoved, { shelfId: server.instanceId, step: 2 });
    await waitFor(() => heard.includes(2));
    expect(heard).toEqual([2]);
  });

  it('at the serving instance makes the caller wait until its deadline', async () => {
    const [client, server] = await Promise.all([bed.bus(), farBus()]);
    server.serve(lendAtOnce, async () => {
      link.refuse();
      link.cut();
      await waitFor(() => !server.connected);
      return {};
    });
    await server.flush();
    await expect(client.call(lendAtOnce, {})).rejects.toMatchObject({ code: ErrorCode.DEADLINE });
    link.accept();
  });

  it('at any moment, again and again, lets every call end and none be served twice', async () => {
    const [client, server] = await Promise.all([farBus(), farBus()]);
    const served = new Map<number, number>();
    server.serve(lend, async ({ copies }) => {
      served.set(copies, (served.get(copies) ?? 0) + 1);
      await sleep(copies % 7);
      return { copies };
    });
    await server.flush();
    const outcomes: Promise<string>[] = [];
    for (let copies = 0; copies < 300; copies++) {
      outcomes.push(outcome(client.call(lend, { copies }, { deadlineMs: 1_500 })));
      if (copies % 60 === 30) link.cut();
      if (copies % 10 === 0) await waitFor(() => client.connected && server.connected);
      await sleep(1);
    }
    const ends = new Set(await Promise.all(outcomes));
    expect(ends).toContain('ok');
    for (const end of ends) expect(['ok', 'UNAVAILABLE', 'DEADLINE']).toContain(end);
    expect(Math.max(...served.values())).toBe(1);
    await waitFor(() => works(client));
  });
});

describe('a silent link', () => {
  it('is detected by pings; until then calls end at their deadline, afterwards at once', async () => {
    const [client, server] = await Promise.all([farBus(100), bed.bus()]);
    server.serve(lendAtOnce, () => ({}));
    server.serve(lend, () => ({}));
    await server.flush();
    link.hold();
    expect(['DEADLINE', 'UNAVAILABLE']).toContain(await outcome(client.call(lendAtOnce, {})));
    await waitFor(() => !client.connected);
    await expect(client.call(lend, {})).rejects.toEqual(unavailable('disconnected'));
    link.release();
    await waitFor(() => client.connected);
    await waitFor(() => works(client));
  });
});

describe('the end of a bus', () => {
  it.each(['cut', 'hold'] as const)('comes even over a bad link (%s)', async (fault) => {
    const far = await farBus();
    far.serve(lend, () => ({}));
    far.subscribe(opened, () => undefined);
    await far.flush();
    link.refuse();
    link[fault]();
    if (fault === 'cut') await waitFor(() => !far.connected);
    const call = outcome(far.call(lend, {}));
    await far.drain({ graceMs: 20 });
    expect(far.connected).toBe(false);
    expect(await call).toBe('UNAVAILABLE');
  });
});

describe('a NATS server that is killed', () => {
  it('makes calls fail fast; after its restart every connection, method and subscription is back', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    const heard: string[] = [];
    let arrived = false;
    server.serve(lend, ({ title }) => {
      if (title !== 'stuck') return {};
      arrived = true;
      return new Promise(() => undefined);
    });
    server.serve(askShelf, () => ({ answer: 'here' }));
    server.subscribe(opened, ({ day }) => void heard.push(`day ${day}`));
    server.subscribe(bookMoved, ({ step }) => void heard.push(`step ${step}`));
    await server.flush();
    const stuck = client.call(lend, { title: 'stuck' }).catch((error: WeirError) => error);
    await waitFor(() => arrived);

    await bed.nats.kill();
    expect(await stuck).toEqual(unavailable('connection_lost'));
    await waitFor(() => !client.connected && !server.connected);
    await expect(client.call(lend, {})).rejects.toEqual(unavailable('disconnected'));

    await bed.nats.restart();
    await waitFor(() => client.connected && server.connected);
    await waitFor(() => works(client));
    expect(await client.call(askShelf, { shelfId: server.instanceId })).toMatchObject({ answer: 'here' });
    client.publish(opened, { day: 2 });
    client.publish(bookMoved, { shelfId: server.instanceId, step: 3 });
    await waitFor(() => heard.length === 2);
    expect(heard).toEqual(['day 2', 'step 3']);
  });

  it('does not stop a bus whose connection listener throws', async () => {
    const client = await bed.bus();
    const told: boolean[] = [];
    client.onConnectionChange(() => {
      throw new Error('a listener');
    });
    client.onConnectionChange((connected) => void told.push(connected));
    await bed.nats.kill();
    await bed.nats.restart();
    await waitFor(() => told.length === 2);
    expect(told).toEqual([false, true]);
    expect(bed.logged('a listener of the connection failed')).toBeDefined();
  });
});
