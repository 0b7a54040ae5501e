import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@nats-io/transport-node';
import { ErrorCode, WeirError } from '@weir/contracts';
import { startNats, waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, expectTypeOf, it } from 'vitest';
import { Bus } from './bus.js';
import { BusMisuseError } from './errors.js';
import { type LendReply, Library, LibraryEvents, Mistakes } from './gen/fixture_pb.js';
import type { CallContext } from './request-server.js';
import { Testbed } from './testbed.js';
import { ERROR_HEADER, INTERNAL_MESSAGE, decodeError } from './wire.js';

const { lend, lendAtOnce, askShelf } = Library.method;
const LEND_SUBJECT = 'call.weir.fixture.v1.Library.Lend';

let bed: Testbed;
beforeAll(async () => {
  bed = await Testbed.start({ maxPayloadBytes: 65_536 });
});
afterEach(() => bed.clear());
afterAll(() => bed.stop());

const weirError = (code: ErrorCode, rest: object = {}) => expect.objectContaining({ name: 'WeirError', code, ...rest });
const never = (): Promise<never> => new Promise(() => undefined);

/** A gate at which a handler waits until the test opens it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe('a call', () => {
  it('gets the reply of the instance that serves the method', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    server.serve(lend, ({ title, copies, scan }) => ({ lentBy: title, copies: copies + 1, scan }));
    await server.flush();
    const reply = await client.call(lend, { title: 'Ulysses', copies: 2, scan: Uint8Array.of(0, 255) });
    expectTypeOf(reply).toEqualTypeOf<LendReply>();
    expect(reply).toMatchObject({ lentBy: 'Ulysses', copies: 3, scan: Uint8Array.of(0, 255) });
  });

  it('refuses at compile time what the contract does not have', async () => {
    const bus = await bed.bus();
    const unused = (): void => {
      // @ts-expect-error the request has no such field
      void bus.call(lend, { author: 'Joyce' });
      // @ts-expect-error copies is a number
      void bus.call(lend, { copies: '2' });
      // @ts-expect-error the reply has no such field
      bus.serve(lend, () => ({ author: 'Joyce' }));
    };
    expect(unused).toBeTypeOf('function');
  });

  it('is answered by one of the instances that serve the method, and each gets some', async () => {
    const [client, ...servers] = await Promise.all([bed.bus(), bed.bus(), bed.bus()]);
    let served = 0;
    for (const server of servers) {
      server.serve(lend, () => {
        served++;
        return { lentBy: server.instanceId };
      });
    }
    await Promise.all(servers.map((server) => server.flush()));
    const replies = await Promise.all(Array.from({ length: 60 }, () => client.call(lend, {})));
    expect(new Set(replies.map(({ lentBy }) => lentBy))).toEqual(new Set(servers.map(({ instanceId }) => instanceId)));
    expect(served).toBe(60);
  });

  it('reaches only the owner that the request names', async () => {
    const client = await bed.bus();
    const ids = ['shelf-1', 'shelf.1', '*', '>', 'shelf 1', 'Regal-ä'];
    const owners = await Promise.all(ids.map((instanceId) => bed.bus({ instanceId })));
    for (const owner of owners) owner.serve(askShelf, () => ({ answer: owner.instanceId }));
    await Promise.all(owners.map((owner) => owner.flush()));
    for (const shelfId of ids) {
      expect(await client.call(askShelf, { shelfId })).toMatchObject({ answer: shelfId });
    }
    await expect(client.call(askShelf, { shelfId: 'shelf-2' })).rejects.toThrow(weirError(ErrorCode.UNAVAILABLE));
    await expect(client.call(askShelf, {})).rejects.toThrow(weirError(ErrorCode.INVALID));
  });

  it('fails as UNAVAILABLE when no instance serves the method', async () => {
    const client = await bed.bus();
    await expect(client.call(lend, {})).rejects.toThrow(
      weirError(ErrorCode.UNAVAILABLE, { message: 'no instance serves weir.fixture.v1.Library.Lend' }),
    );
  });

  it("rejects with the server's own error and its fields", async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    server.serve(lend, () => {
      throw new WeirError(ErrorCode.ALREADY_EXISTS, 'Stream name is already in use', { stream: 'ä "b"\r\nc' });
    });
    await server.flush();
    await expect(client.call(lend, {})).rejects.toThrow(
      weirError(ErrorCode.ALREADY_EXISTS, {
        message: 'Stream name is already in use',
        fields: { stream: 'ä "b"\r\nc' },
      }),
    );
    expect(bed.log).toEqual([]);
  });

  it('rejects with INTERNAL for any other error, whose details only the log has', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    server.serve(lend, async () => {
      await sleep(1);
      throw new Error('password=x');
    });
    await server.flush();
    await expect(client.call(lend, {})).rejects.toThrow(
      weirError(ErrorCode.INTERNAL, { message: INTERNAL_MESSAGE, fields: {} }),
    );
    expect(bed.logged('a handler failed')).toMatchObject({
      level: 'error',
      fields: { method: 'weir.fixture.v1.Library.Lend', error: { message: 'password=x' } },
    });
    // And it goes on serving.
    await expect(client.call(lend, {})).rejects.toThrow(weirError(ErrorCode.INTERNAL));
  });

  it('fails as INTERNAL when the handler returns something that is not a reply', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    const nonsense: number = JSON.parse('"three"');
    server.serve(lend, () => ({ copies: nonsense }));
    await server.flush();
    await expect(client.call(lend, {})).rejects.toThrow(weirError(ErrorCode.INTERNAL));
  });

  it('throws a BusMisuseError at once when the contract does not allow it', async () => {
    const bus = await bed.bus();
    const { opened } = LibraryEvents.method;
    expect(() => bus.call(opened, {})).toThrow(
      new BusMisuseError(
        "call doesn't fit weir.fixture.v1.LibraryEvents.Opened: it is an event, use publish and subscribe",
      ),
    );
    expect(() => bus.publish(lend, {})).toThrow('it is a request, use call and serve');
    expect(() => bus.subscribe(askShelf, () => undefined)).toThrow(BusMisuseError);
    expect(() => bus.serve(opened, () => ({}))).toThrow(BusMisuseError);
    expect(() => bus.call(Mistakes.method.noDeadline, {})).toThrow(BusMisuseError);
    bus.serve(lend, () => ({}));
    expect(() => bus.serve(lend, () => ({}))).toThrow('is served already');
  });
});

describe("a call's deadline", () => {
  it('ends the call as DEADLINE and aborts the handler', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    let seen: CallContext | undefined;
    server.serve(lendAtOnce, (_request, context) => {
      seen = context;
      return never();
    });
    await server.flush();
    await expect(client.call(lendAtOnce, {})).rejects.toThrow(weirError(ErrorCode.DEADLINE));
    await waitFor(() => seen?.signal.aborted);
    expect(seen?.remainingMs()).toBe(0);
    expect(seen?.method).toBe('weir.fixture.v1.Library.LendAtOnce');
  });

  it('reaches the server; the caller can shorten but not extend it', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    server.serve(lend, (_request, { deadlineMs }) => ({ copies: deadlineMs }));
    server.serve(lendAtOnce, (_request, { deadlineMs }) => ({ copies: deadlineMs }));
    await server.flush();
    expect(await client.call(lend, {})).toMatchObject({ copies: 5000 });
    expect(await client.call(lend, {}, { deadlineMs: 700 })).toMatchObject({ copies: 700 });
    expect(await client.call(lendAtOnce, {}, { deadlineMs: 60_000 })).toMatchObject({ copies: 150 });
  });

  it('limits the calls that a handler makes for its caller', async () => {
    const [client, server, backend] = await Promise.all([bed.bus(), bed.bus(), bed.bus()]);
    backend.serve(askShelf, (_request, { deadlineMs }) => ({ answer: String(deadlineMs) }));
    server.serve(lend, async (_request, context) => {
      const { answer } = await server.call(askShelf, { shelfId: backend.instanceId }, { parent: context });
      return { copies: Number(answer) };
    });
    await Promise.all([backend.flush(), server.flush()]);
    const { copies } = await client.call(lend, {}, { deadlineMs: 900 });
    expect(copies).toBeGreaterThan(0);
    expect(copies).toBeLessThanOrEqual(900);
  });

  it('sends nothing when it has passed before the call', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    let served = 0;
    server.serve(lend, () => ({ copies: ++served }));
    await server.flush();
    await expect(client.call(lend, {}, { parent: { remainingMs: () => 0 } })).rejects.toThrow(
      weirError(ErrorCode.DEADLINE),
    );
    expect(await client.call(lend, {})).toMatchObject({ copies: 1 });
  });
});

describe('a malformed payload', () => {
  it('is refused as INVALID in a request, and the method is still served', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    server.serve(lend, () => ({ lentBy: 'me' }));
    await server.flush();
    const stranger = await connect({ servers: bed.nats.url });
    const reply = await stranger.request(LEND_SUBJECT, Uint8Array.of(0xff, 0xff, 0xff));
    expect(reply.headers?.has(ERROR_HEADER)).toBe(true);
    expect(decodeError(reply.data)).toMatchObject({ code: ErrorCode.INVALID });
    // Without a reply subject the error can't be sent.
    stranger.publish(LEND_SUBJECT, Uint8Array.of(0xff));
    await stranger.drain();
    expect(await client.call(lend, {})).toMatchObject({ lentBy: 'me' });
  });

  it('is INTERNAL in a reply', async () => {
    const client = await bed.bus();
    const stranger = await connect({ servers: bed.nats.url });
    stranger.subscribe(LEND_SUBJECT, { callback: (_error, message) => void message.respond(Uint8Array.of(0xff)) });
    await stranger.flush();
    await expect(client.call(lend, {})).rejects.toThrow(weirError(ErrorCode.INTERNAL));
    await stranger.drain();
  });
});

describe('the largest message', () => {
  it('is named in the error for a request that is larger', async () => {
    const client = await bed.bus();
    await expect(client.call(lend, { scan: new Uint8Array(70_000) })).rejects.toThrow(
      weirError(ErrorCode.INVALID, { fields: expect.objectContaining({ limit_bytes: '65536' }) }),
    );
    expect(() => client.publish(LibraryEvents.method.bookMoved, { shelfId: 'x'.repeat(70_000) })).toThrow(
      weirError(ErrorCode.INVALID),
    );
  });

  it('is exceeded by a reply: INTERNAL', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    server.serve(lend, ({ copies }) => ({ scan: new Uint8Array(copies) }));
    await server.flush();
    await expect(client.call(lend, { copies: 70_000 })).rejects.toThrow(weirError(ErrorCode.INTERNAL));
    expect(bed.logged('a handler failed')).toBeDefined();
    expect((await client.call(lend, { copies: 64_000 })).scan).toHaveLength(64_000);
  });
});

describe('a limit on concurrency', () => {
  it('is kept, in the order of arrival', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    let running = 0;
    let most = 0;
    const order: number[] = [];
    server.serve(
      lend,
      async ({ copies }) => {
        most = Math.max(most, ++running);
        order.push(copies);
        await sleep(2);
        running--;
        return {};
      },
      { concurrency: 3 },
    );
    await server.flush();
    await Promise.all(Array.from({ length: 20 }, (_none, copies) => client.call(lend, { copies })));
    expect(most).toBe(3);
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  it('drops requests whose deadline passes while they wait', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    const { opened, open } = gate();
    const handled: string[] = [];
    server.serve(
      lendAtOnce,
      async ({ title }) => {
        handled.push(title);
        await opened;
        return {};
      },
      { concurrency: 1 },
    );
    await server.flush();
    const calls = Promise.allSettled(['first', 'second'].map((title) => client.call(lendAtOnce, { title })));
    for (const call of await calls) {
      expect(call).toMatchObject({ status: 'rejected', reason: { code: ErrorCode.DEADLINE } });
    }
    open();
    await waitFor(() => bed.logged('a request was dropped: its deadline passed before a slot was free'));
    expect(handled).toEqual(['first']);
    expect(await client.call(lendAtOnce, { title: 'third' })).toBeDefined();
  });
});

describe('the end', () => {
  it('lets the running handlers finish and sends their replies', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    const { opened, open } = gate();
    let arrived = 0;
    server.serve(lend, async () => {
      arrived++;
      await opened;
      // A handler that still runs can make calls.
      const { lentBy } = await server.call(lendAtOnce, {});
      return { lentBy };
    });
    client.serve(lendAtOnce, () => ({ lentBy: 'client' }));
    await Promise.all([client.flush(), server.flush()]);
    const calls = Promise.all(Array.from({ length: 5 }, () => client.call(lend, {})));
    await waitFor(() => arrived === 5);
    const drained = server.drain();
    await waitFor(() =>
      client.call(lend, {}, { deadlineMs: 100 }).then(
        () => false,
        ({ code }: WeirError) => code === ErrorCode.UNAVAILABLE,
      ),
    );
    open();
    expect(await calls).toHaveLength(5);
    await drained;
    await server.drain();
    expect(server.connected).toBe(false);
    await expect(server.call(lend, {})).rejects.toThrow(weirError(ErrorCode.UNAVAILABLE));
    expect(() => server.publish(LibraryEvents.method.opened, {})).not.toThrow();
  });

  it('does not wait longer than the grace time', async () => {
    const [client, server] = await Promise.all([bed.bus(), bed.bus()]);
    let arrived = false;
    server.serve(lend, () => {
      arrived = true;
      return never();
    });
    await server.flush();
    const call = client.call(lend, {}, { deadlineMs: 1_000 });
    const failed = expect(call).rejects.toThrow(weirError(ErrorCode.DEADLINE));
    await waitFor(() => arrived);
    await server.drain({ graceMs: 20 });
    expect(bed.logged('the bus closes although some handlers still run')).toMatchObject({ level: 'warn' });
    await failed;
  });

  it('of one registration leaves the method to other instances, and the bus can serve it again', async () => {
    const [client, first, second] = await Promise.all([bed.bus(), bed.bus(), bed.bus()]);
    const registration = first.serve(lend, () => ({ lentBy: 'first' }));
    second.serve(lend, () => ({ lentBy: 'second' }));
    await Promise.all([first.flush(), second.flush()]);
    await registration.close();
    await registration.close();
    const replies = await Promise.all(Array.from({ length: 20 }, () => client.call(lend, {})));
    expect(new Set(replies.map(({ lentBy }) => lentBy))).toEqual(new Set(['second']));
    first.serve(lend, () => ({ lentBy: 'first again' }));
    await first.flush();
    await waitFor(async () => (await client.call(lend, {})).lentBy === 'first again');
  });
});

describe('the first connection', () => {
  it('takes its credentials from the options or from the URL, and refuses wrong ones at once', async () => {
    const nats = await startNats({ user: 'weir', password: 'p@ss word' });
    const options = { service: 'spec', instanceId: 'spec-1', log: bed.recorder };
    const bare = `127.0.0.1:${nats.port}`;
    try {
      const fromUrl = await Bus.connect({ ...options, url: nats.url });
      const fromOptions = await Bus.connect({ ...options, url: bare, user: 'weir', password: 'p@ss word' });
      expect([fromUrl.connected, fromOptions.connected]).toEqual([true, true]);
      await Promise.all([fromUrl.drain(), fromOptions.drain()]);
      await expect(Bus.connect({ ...options, url: bare, user: 'weir', password: 'x' })).rejects.toThrow(
        weirError(ErrorCode.UNAUTHENTICATED),
      );
    } finally {
      await nats.stop();
    }
  });

  it('waits until the server is there', async () => {
    const nats = await startNats();
    try {
      await nats.kill();
      const connecting = bed.bus({ url: nats.url });
      await waitFor(() => bed.logged('no connection to NATS yet'));
      await nats.restart();
      expect((await connecting).connected).toBe(true);
    } finally {
      await nats.stop();
    }
  });

  it('is given up when the caller aborts', async () => {
    const nats = await startNats();
    await nats.stop();
    const giveUp = new AbortController();
    const connecting = bed.bus({ url: nats.url, signal: giveUp.signal });
    await waitFor(() => bed.logged('no connection to NATS yet'));
    giveUp.abort();
    await expect(connecting).rejects.toThrow(/abort/i);
  });
});
