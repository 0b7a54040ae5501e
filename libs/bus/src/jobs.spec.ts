import { setTimeout as sleep } from 'node:timers/promises';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect, headers } from '@nats-io/transport-node';
import { ErrorCode, WeirError } from '@weir/contracts';
import { FaultyLink, waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { LibraryChores } from './gen/fixture_pb.js';
import { Testbed } from './testbed.js';
import { DEAD_REASON_HEADER, JOB_ID_HEADER } from './wire.js';

const { dust, mend } = LibraryChores.method;
const JOB_STREAM = 'job-weir-fixture-v1-LibraryChores';
const DEAD_STREAM = 'dead-weir-fixture-v1-LibraryChores';
const DUST_SUBJECT = 'job.weir.fixture.v1.LibraryChores.Dust';
/** Short delays before the next attempt. */
const SOON = { retryMinMs: 10, retryMaxMs: 20 };

let bed: Testbed;
beforeAll(async () => {
  bed = await Testbed.start();
});
afterEach(async () => {
  await bed.clear();
  await withManager(async (manager) => {
    for await (const { config } of manager.streams.list()) await manager.streams.delete(config.name);
  });
});
afterAll(() => bed.stop());

type Manager = Awaited<ReturnType<typeof jetstreamManager>>;

async function withManager<Result>(work: (manager: Manager) => Promise<Result>): Promise<Result> {
  const connection = await connect({ servers: bed.nats.url });
  try {
    return await work(await jetstreamManager(connection));
  } finally {
    await connection.close();
  }
}

const messagesIn = (stream: string): Promise<number> =>
  withManager(async (manager) => (await manager.streams.info(stream)).state.messages);

/** Publishes the same job again without regard to used ids, as after a lost acknowledgement. */
async function publishAgain(id: string, times: number, messageId?: string): Promise<void> {
  const connection = await connect({ servers: bed.nats.url });
  for (let time = 0; time < times; time++) {
    const carried = headers();
    carried.set(JOB_ID_HEADER, id);
    if (messageId !== undefined) carried.set('Nats-Msg-Id', messageId);
    await connection.request(DUST_SUBJECT, new Uint8Array(), { headers: carried, timeout: 2_000 });
  }
  await connection.drain();
}

describe('a job', () => {
  it('waits for a worker, and leaves the queue when it is done', async () => {
    const [client, worker] = await Promise.all([bed.bus(), bed.bus()]);
    expect(await client.enqueue(dust, { room: 'attic' }, { id: 'd1' })).toEqual({ duplicate: false });
    expect(await messagesIn(JOB_STREAM)).toBe(1);
    const done: unknown[] = [];
    worker.work(dust, ({ room }, { id, attempt, maxAttempts, deadlineMs, method }) => {
      done.push({ room, id, attempt, maxAttempts, deadlineMs, method });
    });
    await waitFor(() => done.length === 1);
    expect(done).toEqual([
      {
        room: 'attic',
        id: 'd1',
        attempt: 1,
        maxAttempts: 10,
        deadlineMs: 1000,
        method: 'weir.fixture.v1.LibraryChores.Dust',
      },
    ]);
    await waitFor(async () => (await messagesIn(JOB_STREAM)) === 0);
  });

  it('is stored even when several instances create its stream at the same time', async () => {
    const clients = await Promise.all(Array.from({ length: 16 }, () => bed.bus()));
    for (let round = 0; round < 40; round++) {
      await Promise.all(clients.map((client, i) => client.enqueue(dust, {}, { id: `d${round}-${i}` })));
      expect(await messagesIn(JOB_STREAM)).toBe(clients.length);
      await withManager((manager) => manager.streams.delete(JOB_STREAM));
    }
  });

  it('is the same job when it is enqueued again with its id and method', async () => {
    const client = await bed.bus();
    expect(await client.enqueue(dust, { room: 'a' }, { id: '1' })).toEqual({ duplicate: false });
    expect(await client.enqueue(dust, { room: 'a' }, { id: '1' })).toEqual({ duplicate: true });
    expect(await client.enqueue(mend, { book: 'b' }, { id: '1' })).toEqual({ duplicate: false });
    expect(await messagesIn(JOB_STREAM)).toBe(2);
  });

  it('is done once, by one of several workers, if nothing fails', async () => {
    const [client, ...workers] = await Promise.all([bed.bus(), bed.bus(), bed.bus()]);
    const done: string[] = [];
    const doers = new Set<string>();
    for (const worker of workers) {
      worker.work(
        dust,
        async (_job, { id }) => {
          await sleep(2);
          done.push(id);
          doers.add(worker.instanceId);
        },
        { concurrency: 2 },
      );
    }
    const ids = Array.from({ length: 40 }, (_none, index) => `job ${index}`.replace(' ', '-'));
    await Promise.all(ids.map((id) => client.enqueue(dust, {}, { id })));
    await waitFor(async () => (await messagesIn(JOB_STREAM)) === 0);
    expect(done.sort()).toEqual([...ids].sort());
    expect(doers.size).toBe(2);
  });

  it('is tried again until it succeeds, and each attempt counts', async () => {
    const bus = await bed.bus();
    const attempts: number[] = [];
    bus.work(
      dust,
      (_job, { attempt }) => {
        attempts.push(attempt);
        if (attempt < 3) throw new Error('not yet');
      },
      SOON,
    );
    await bus.enqueue(dust, {}, { id: '1' });
    await waitFor(async () => attempts.length === 3 && (await messagesIn(JOB_STREAM)) === 0);
    expect(attempts).toEqual([1, 2, 3]);
  });

  it('that takes too long is aborted and tried again', async () => {
    const bus = await bed.bus();
    const aborted: number[] = [];
    bus.work(
      dust,
      async (_job, { attempt, signal, remainingMs }) => {
        if (attempt > 1) return;
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        aborted.push(remainingMs());
        await new Promise(() => undefined);
      },
      SOON,
    );
    await bus.enqueue(dust, {}, { id: '1' });
    await waitFor(async () => aborted.length === 1 && (await messagesIn(JOB_STREAM)) === 0);
    expect(aborted).toEqual([0]);
  });

  it('cannot have an id that does not fit into a header', async () => {
    const bus = await bed.bus();
    for (const id of ['', 'a b', 'a\r\nb', 'ä', 'x'.repeat(513)]) {
      await expect(bus.enqueue(dust, {}, { id })).rejects.toMatchObject({ code: ErrorCode.INVALID });
    }
    await expect(bus.enqueue(dust, { room: 'x'.repeat(2_000_000) }, { id: '1' })).rejects.toMatchObject({
      code: ErrorCode.INVALID,
    });
  });

  it('is UNAVAILABLE where NATS has no JetStream', async () => {
    const bare = await Testbed.start({ jetStream: false });
    try {
      const bus = await bare.bus();
      await expect(bus.enqueue(dust, {}, { id: '1' })).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
    } finally {
      await bare.stop();
    }
  });
});

describe('a job that arrives twice', () => {
  it('is stored once when only its acknowledgement was lost', async () => {
    const bus = await bed.bus();
    await bus.enqueue(dust, {}, { id: '1' });
    await publishAgain('1', 3, 'weir.fixture.v1.LibraryChores.Dust 1');
    expect(await messagesIn(JOB_STREAM)).toBe(1);
  });

  it('reaches the handler with the same id each time when it was stored again', async () => {
    const bus = await bed.bus();
    await bus.enqueue(dust, {}, { id: '1' });
    await publishAgain('1', 2);
    const given: string[] = [];
    const dusted = new Set<string>();
    bus.work(dust, (_job, { id }) => {
      given.push(id);
      dusted.add(id);
    });
    await waitFor(async () => (await messagesIn(JOB_STREAM)) === 0);
    expect(given).toEqual(['1', '1', '1']);
    expect(dusted.size).toBe(1);
  });

  it("is given to another worker when the first one's acknowledgement is lost", { timeout: 20_000 }, async () => {
    const link = await FaultyLink.open({ port: bed.nats.port });
    const [client, near] = await Promise.all([bed.bus(), bed.bus()]);
    const far = await bed.bus({ url: link.through(bed.nats.url) });
    const given: string[] = [];
    far.work(dust, (_job, { id, attempt }) => {
      given.push(`far ${id} ${attempt}`);
      link.hold();
    });
    await client.enqueue(dust, {}, { id: '1' });
    await waitFor(() => given.length === 1);
    near.work(dust, (_job, { id, attempt }) => void given.push(`near ${id} ${attempt}`));
    await waitFor(() => given.length === 2);
    expect(given).toEqual(['far 1 1', 'near 1 2']);
    await link.close();
  });
});

describe('a dead job', () => {
  it('has used up its attempts, is stored with its reason, and is reported', async () => {
    const bus = await bed.bus();
    let attempts = 0;
    const dead: unknown[] = [];
    bus.work(
      dust,
      () => {
        attempts++;
        throw new WeirError(ErrorCode.NOT_FOUND, 'no such\nroom');
      },
      { ...SOON, maxAttempts: 3, onDead: ({ job, ...rest }) => void dead.push({ room: job?.room, ...rest }) },
    );
    await bus.enqueue(dust, { room: 'cellar' }, { id: 'd1' });
    await waitFor(async () => dead.length === 1 && (await messagesIn(JOB_STREAM)) === 0);
    expect(attempts).toBe(3);
    expect(dead).toEqual([{ room: 'cellar', id: 'd1', attempts: 3, reason: 'NOT_FOUND: no such\nroom' }]);
    const kept = await withManager((manager) => manager.streams.getMessage(DEAD_STREAM, { seq: 1 }));
    expect(kept?.subject).toBe('dead.weir.fixture.v1.LibraryChores.Dust');
    expect(kept?.header.get(JOB_ID_HEADER)).toBe('d1');
    expect(kept?.header.get(DEAD_REASON_HEADER)).toBe('NOT_FOUND: no such room');
    expect(bed.logged('a job is dead')).toMatchObject({ level: 'error' });
  });

  it('is one that cannot be decoded, at once', async () => {
    const bus = await bed.bus();
    await bus.enqueue(mend, {}, { id: 'makes the stream'.replaceAll(' ', '-') });
    const connection = await connect({ servers: bed.nats.url });
    await connection.request(DUST_SUBJECT, Uint8Array.of(0xff));
    await connection.drain();
    const dead: unknown[] = [];
    bus.work(dust, () => expect.unreachable(), { onDead: (job) => void dead.push(job) });
    await waitFor(() => dead.length === 1);
    expect(dead).toEqual([{ id: '', job: undefined, attempts: 1, reason: "it can't be read" }]);
  });

  it('is stored even when the handler for dead jobs fails', async () => {
    const bus = await bed.bus();
    bus.work(
      dust,
      () => {
        throw new Error('no');
      },
      {
        maxAttempts: 1,
        onDead: () => {
          throw new Error('neither');
        },
      },
    );
    await bus.enqueue(dust, {}, { id: '1' });
    await waitFor(() => bed.logged('the handler for dead jobs failed'));
    await waitFor(async () => (await messagesIn(JOB_STREAM)) === 0);
    expect(await messagesIn(DEAD_STREAM)).toBe(1);
  });

  it('is one whose workers died during each attempt', { timeout: 20_000 }, async () => {
    const link = await FaultyLink.open({ port: bed.nats.port });
    const [client, near] = await Promise.all([bed.bus(), bed.bus()]);
    const far = await bed.bus({ url: link.through(bed.nats.url) });
    let taken = false;
    far.work(dust, () => {
      taken = true;
      link.hold();
      return new Promise(() => undefined);
    });
    await client.enqueue(dust, {}, { id: '1' });
    await waitFor(() => taken);
    const dead: unknown[] = [];
    near.work(dust, () => expect.unreachable(), {
      maxAttempts: 1,
      onDead: ({ id, attempts, reason }) => void dead.push({ id, attempts, reason }),
    });
    await waitFor(() => dead.length === 1);
    expect(dead).toEqual([{ id: '1', attempts: 1, reason: 'its workers died' }]);
    await link.close();
  });
});

describe('a worker', () => {
  it('finishes its job and takes no other when it is closed', async () => {
    const [client, worker] = await Promise.all([bed.bus(), bed.bus()]);
    const log: string[] = [];
    worker.work(dust, async (_job, { id }) => {
      log.push(`start ${id}`);
      await sleep(50);
      log.push(`end ${id}`);
    });
    await client.enqueue(dust, {}, { id: '1' });
    await client.enqueue(dust, {}, { id: '2' });
    await waitFor(() => log.length === 1);
    await worker.drain();
    expect(log).toEqual(['start 1', 'end 1']);
    expect(await messagesIn(JOB_STREAM)).toBe(1);
  });

  it('continues after NATS was killed, and no job is lost', { timeout: 20_000 }, async () => {
    const [client, worker] = await Promise.all([bed.bus(), bed.bus()]);
    const done: string[] = [];
    worker.work(mend, (_job, { id }) => void done.push(`mend ${id}`));
    await client.enqueue(dust, {}, { id: '1' });
    await client.enqueue(mend, {}, { id: '1' });
    await waitFor(() => done.length === 1);

    await bed.nats.kill();
    await waitFor(() => !client.connected && !worker.connected);
    await expect(client.enqueue(mend, {}, { id: '2' })).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
    await bed.nats.restart();

    await waitFor(() => client.connected && worker.connected);
    await waitFor(() => client.enqueue(mend, {}, { id: '2' }));
    worker.work(dust, (_job, { id }) => void done.push(`dust ${id}`));
    await waitFor(() => done.length === 3);
    expect(done.slice(1).sort()).toEqual(['dust 1', 'mend 2']);
  });

  it('continues after NATS has lost all its streams', { timeout: 20_000 }, async () => {
    const [client, worker] = await Promise.all([bed.bus(), bed.bus()]);
    const done: string[] = [];
    worker.work(dust, (_job, { id }) => void done.push(id));
    await client.enqueue(dust, {}, { id: '1' });
    await waitFor(() => done.length === 1);
    await withManager((manager) => manager.streams.delete(JOB_STREAM));
    await client.enqueue(dust, {}, { id: '2' });
    await waitFor(() => done.length === 2);
    expect(done).toEqual(['1', '2']);
  });

  it('updates a stream that an earlier version created with other settings', async () => {
    await withManager((manager) =>
      manager.streams.add({
        name: JOB_STREAM,
        subjects: ['job.weir.fixture.v1.LibraryChores.Dust'],
        retention: 'workqueue',
      }),
    );
    const bus = await bed.bus();
    expect(await bus.enqueue(mend, {}, { id: '1' })).toEqual({ duplicate: false });
    const { config } = await withManager((manager) => manager.streams.info(JOB_STREAM));
    expect(config.subjects).toEqual(['job.weir.fixture.v1.LibraryChores.*']);
  });
});
