import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@nats-io/transport-node';
import { ErrorCode } from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { LibraryEvents } from './gen/fixture_pb.js';
import { Testbed } from './testbed.js';

const { opened, bookMoved } = LibraryEvents.method;
const STEPS = Array.from({ length: 500 }, (_none, step) => step);

let bed: Testbed;
beforeAll(async () => {
  bed = await Testbed.start();
});
afterEach(() => bed.clear());
afterAll(() => bed.stop());

describe('an event', () => {
  it('reaches every subscriber, its publisher too', async () => {
    const buses = await Promise.all([bed.bus(), bed.bus(), bed.bus()]);
    const heard: string[] = [];
    for (const bus of buses) bus.subscribe(opened, ({ day }) => void heard.push(`${bus.instanceId} ${day}`));
    await Promise.all(buses.map((bus) => bus.flush()));
    buses[0].publish(opened, { day: 7 });
    await waitFor(() => heard.length === 3);
    expect(heard.sort()).toEqual(buses.map(({ instanceId }) => `${instanceId} 7`).sort());
  });

  it('with an owner reaches only the owner', async () => {
    const [teller, first, second] = await Promise.all([bed.bus(), bed.bus(), bed.bus()]);
    const heard: string[] = [];
    for (const bus of [first, second])
      bus.subscribe(bookMoved, ({ step }) => void heard.push(`${bus.instanceId} ${step}`));
    await Promise.all([first.flush(), second.flush()]);
    teller.publish(bookMoved, { shelfId: first.instanceId, step: 1 });
    teller.publish(bookMoved, { shelfId: 'nobody', step: 2 });
    teller.publish(bookMoved, { shelfId: second.instanceId, step: 3 });
    await waitFor(() => heard.length === 2);
    expect(heard.sort()).toEqual([`${first.instanceId} 1`, `${second.instanceId} 3`].sort());
    expect(() => teller.publish(bookMoved, {})).toThrow(expect.objectContaining({ code: ErrorCode.INVALID }));
  });

  it('arrives in the order in which its sender published', async () => {
    const [teller, owner] = await Promise.all([bed.bus(), bed.bus()]);
    const heard: number[] = [];
    owner.subscribe(bookMoved, ({ step }) => void heard.push(step));
    await owner.flush();
    for (const step of STEPS) teller.publish(bookMoved, { shelfId: owner.instanceId, step });
    await waitFor(() => heard.length === STEPS.length);
    expect(heard).toEqual(STEPS);
  });

  it('does not wait for the promise that the handler returned for the previous one', async () => {
    const [teller, owner] = await Promise.all([bed.bus(), bed.bus()]);
    const heard: number[] = [];
    owner.subscribe(bookMoved, ({ step }) => {
      heard.push(step);
      return new Promise(() => undefined);
    });
    await owner.flush();
    for (const step of [1, 2, 3]) teller.publish(bookMoved, { shelfId: owner.instanceId, step });
    await waitFor(() => heard.length === 3);
    expect(heard).toEqual([1, 2, 3]);
  });

  it('waits for that promise when the subscription is sequential', async () => {
    const [teller, owner] = await Promise.all([bed.bus(), bed.bus()]);
    const heard: string[] = [];
    owner.subscribe(
      bookMoved,
      async ({ step }) => {
        heard.push(`start ${step}`);
        // Later events take less time: without waiting, they would finish in reverse order.
        await sleep(20 - 5 * step);
        heard.push(`end ${step}`);
      },
      { sequential: true },
    );
    await owner.flush();
    for (const step of [1, 2, 3]) teller.publish(bookMoved, { shelfId: owner.instanceId, step });
    await waitFor(() => heard.length === 6);
    expect(heard).toEqual(['start 1', 'end 1', 'start 2', 'end 2', 'start 3', 'end 3']);
  });

  it.each([{ sequential: false }, { sequential: true }])(
    'arrives even after a handler has thrown or a malformed one has arrived (%o)',
    async (options) => {
      const [teller, listener] = await Promise.all([bed.bus(), bed.bus()]);
      const heard: number[] = [];
      listener.subscribe(
        opened,
        ({ day }) => {
          heard.push(day);
          if (day === 1) throw new Error('at once');
          return day === 2 ? Promise.reject(new Error('later')) : undefined;
        },
        options,
      );
      await listener.flush();
      const stranger = await connect({ servers: bed.nats.url });
      stranger.publish('event.weir.fixture.v1.LibraryEvents.Opened', Uint8Array.of(0xff));
      await stranger.drain();
      for (const day of [1, 2, 3]) teller.publish(opened, { day });
      await waitFor(() => heard.length === 3 && bed.log.length === 3);
      expect(heard).toEqual([1, 2, 3]);
      expect(new Set(bed.log.map(({ level, message }) => `${level} ${message}`))).toEqual(
        new Set(['error an event handler failed']),
      );
    },
  );

  it('does not arrive after the subscription was closed; close() waits for running handlers', async () => {
    const [teller, listener] = await Promise.all([bed.bus(), bed.bus()]);
    const heard: string[] = [];
    let end: () => void = () => undefined;
    const subscription = listener.subscribe(opened, async ({ day }) => {
      heard.push(`start ${day}`);
      await new Promise<void>((resolve) => (end = resolve));
      heard.push(`end ${day}`);
    });
    await listener.flush();
    teller.publish(opened, { day: 1 });
    await waitFor(() => heard.length === 1);
    const closed = subscription.close().then(() => heard.push('closed'));
    // By then the server knows that the subscription has ended.
    await listener.flush();
    teller.publish(opened, { day: 2 });
    await teller.flush();
    await listener.flush();
    expect(heard).toEqual(['start 1']);
    end();
    await closed;
    expect(heard).toEqual(['start 1', 'end 1', 'closed']);
  });

  it('that was published just before the drain is still sent', async () => {
    const [teller, listener] = await Promise.all([bed.bus(), bed.bus()]);
    const heard: number[] = [];
    listener.subscribe(opened, ({ day }) => void heard.push(day));
    await listener.flush();
    teller.publish(opened, { day: 31 });
    await teller.drain();
    await waitFor(() => heard.length === 1);
  });
});
