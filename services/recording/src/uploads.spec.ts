import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Outbox } from '@weir/outbox';
import { OutboundGuard, parseAllowList } from '@weir/outbound';
import { startPostgres, waitFor, type TestServer } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RecordingStore } from './store.js';
import { answer, PutReceiver } from './testing/put-receiver.js';
import { S3Receiver } from './testing/s3-receiver.js';
import { S3Storage } from './upload-s3.js';
import { Uploads, type Upload, type UploadsPorts } from './uploads.js';

const silent = { info: () => undefined, warn: () => undefined, error: () => undefined };
const guard = new OutboundGuard({ allow: parseAllowList('127.0.0.1') });
const body = randomBytes(100_000);

let postgres: TestServer;
let store: RecordingStore;
let folder: string;
let receiver: PutReceiver;
let outbox: Outbox;
let uploads: Uploads;
let told: string[];
let recordings = 0;
const opened: Outbox[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
  store = await RecordingStore.open(postgres.url, silent);
}, 60_000);
afterAll(async () => {
  await store.close();
  await postgres.stop();
});

/** @param beforeNote may fail instead of the database */
const open = async (
  ports: Partial<UploadsPorts> = {},
  beforeNote: (text: string) => Promise<void> = async () => undefined,
): Promise<Uploads> => {
  outbox = await Outbox.open({
    ...{ url: postgres.url, owner: 'recording', instance: `i${opened.length}`, log: silent },
    ...{ pollMs: 20, closeGraceMs: 0 },
  });
  opened.push(outbox);
  const deliverWith = outbox.deliver.bind(outbox);
  outbox.deliver = (queue, handler) =>
    deliverWith(queue, {
      ...handler,
      deliver: (message, context) => {
        const note = async (text: string) => beforeNote(text).then(() => context.note(text));
        return handler.deliver(message, { signal: context.signal, note });
      },
    });
  return new Uploads(
    {
      ...{ outbox, guard, log: silent, folder: path.join(folder, 'delivered') },
      uploaded: async ({ recordingId }, { by }) => void told.push(`${recordingId} uploaded by ${by}`),
      failed: async ({ recordingId }, { status, words }) => void told.push(`${recordingId} failed ${status}: ${words}`),
      ...ports,
    },
    { requireHttps: false, pace: { firstMs: 1, maxMs: 1 }, leaseMs: 500 },
  );
};

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'weir-uploads-'));
  receiver = await PutReceiver.open();
  told = [];
  uploads = await open();
});
afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
  await receiver.close();
  await rm(folder, { recursive: true });
});

const finished = async (destination?: Upload['destination']): Promise<Upload> => {
  const recordingId = `r${++recordings}`;
  const file = { path: path.join(folder, `${recordingId}.webm`), sizeBytes: body.length, contentType: 'video/webm' };
  await writeFile(file.path, body);
  return {
    recordingId,
    file,
    destination: destination ?? { kind: 'put', url: receiver.url(`/${recordingId}?sig=hidden`) },
  };
};
const deliver = (upload: Upload): Promise<void> =>
  store.database.$transaction((transaction) => uploads.deliver(transaction, upload, 'acme'));
const tagOf = async ({ recordingId }: Upload) => (await uploads.state(recordingId))?.tag;
const ended = (upload: Upload) => waitFor(async () => ['delivered', 'failed'].includes((await tagOf(upload)) ?? ''));

describe('a finished recording', () => {
  it('is delivered when the transaction commits that finished it, and its owner is told', async () => {
    const upload = await finished();
    const failing = store.database.$transaction(async (transaction) => {
      await uploads.deliver(transaction, upload, 'acme');
      throw new Error('not finished after all');
    });
    await expect(failing).rejects.toThrow('not finished');
    expect(await uploads.state(upload.recordingId)).toBeUndefined();
    await deliver(upload);
    await ended(upload);
    expect(receiver.stored.get(`/${upload.recordingId}`)?.body.equals(body)).toBe(true);
    expect(told).toEqual([`${upload.recordingId} uploaded by checksum`]);
    expect(await uploads.state(upload.recordingId)).toMatchObject({
      tag: 'delivered',
      confirmation: { by: 'checksum' },
    });
    expect(await readFile(upload.file.path)).toHaveLength(body.length);
  });

  it('is delivered by another instance when the one that delivers it is killed', async () => {
    receiver.faults.push((request, response) => {
      response.writeContinue();
      request.resume();
    });
    const upload = await finished();
    await deliver(upload);
    await waitFor(() => receiver.seen.length === 1);
    expect(await tagOf(upload)).toBe('delivering');
    // As a kill leaves it: leased, and nobody renews the lease.
    await store.database.$executeRaw`UPDATE recording_outbox.message SET lease = gen_random_uuid()`;
    await ended(upload);
    expect(receiver.seen).toHaveLength(2);
    expect(told).toEqual([`${upload.recordingId} uploaded by checksum`]);
  });

  it('isn’t sent again when only its owner could not be told', async () => {
    await Promise.all(opened.splice(0).map((one) => one.close()));
    uploads = await open({
      uploaded: async ({ recordingId }) => {
        told.push(recordingId);
        if (told.length === 1) throw new Error('the database is away');
      },
    });
    const upload = await finished();
    await deliver(upload);
    await ended(upload);
    expect([told.length, receiver.seen.length]).toEqual([2, 1]);
  });

  it('isn’t sent again when the database is away at its end', async () => {
    await Promise.all(opened.splice(0).map((one) => one.close()));
    let away = true;
    uploads = await open({}, async (text) => {
      if (!away || !text.includes('uploaded')) return;
      away = false;
      throw new Error('the database is away');
    });
    const upload = await finished();
    await deliver(upload);
    await ended(upload);
    expect([away, receiver.seen.length, told.length]).toEqual([false, 1, 1]);
  });

  it('is tried again while its destination is away, and shows why', async () => {
    receiver.faults.push((_request, response) => answer(response, 503, 'SlowDown', { 'retry-after': '3600' }));
    const upload = await finished();
    await deliver(upload);
    await waitFor(
      async () => (await uploads.state(upload.recordingId))?.tag === 'pending' && receiver.seen.length === 1,
    );
    expect(await uploads.state(upload.recordingId)).toMatchObject({
      tag: 'pending',
      lastFailure: { status: 503, words: 'the destination says 503 (SlowDown)' },
    });
    expect(await uploads.again(upload, 'acme')).toBe('hastened');
    await ended(upload);
    expect(await tagOf(upload)).toBe('delivered');
  });

  it('fails visibly with the status, and is delivered to a new URL when somebody gives one', async () => {
    receiver.faults.push((_request, response) => answer(response, 403, 'AccessDenied'));
    const upload = await finished();
    await deliver(upload);
    await ended(upload);
    const words = 'the destination says 403 (AccessDenied); a new URL is needed';
    expect(await uploads.state(upload.recordingId)).toMatchObject({ tag: 'failed', failure: { status: 403, words } });
    expect(told).toEqual([`${upload.recordingId} failed 403: ${words}`]);
    const renewed: Upload = { ...upload, destination: { kind: 'put', url: receiver.url('/renewed') } };
    expect(await uploads.again(renewed, 'other')).toBe('unknown');
    expect(await uploads.again(renewed, 'acme')).toBe('replayed');
    await waitFor(async () => (await tagOf(upload)) === 'delivered');
    expect([...receiver.stored.keys()]).toEqual(['/renewed']);
  });

  it('waits for its file if this instance can’t find it', async () => {
    const upload = await finished();
    await rm(upload.file.path);
    await deliver(upload);
    await waitFor(async () => {
      const state = await uploads.state(upload.recordingId);
      return state?.tag === 'pending' && state.lastFailure !== undefined;
    });
    await writeFile(upload.file.path, body);
    await ended(upload);
    expect(await tagOf(upload)).toBe('delivered');
  });

  it('goes to a folder', async () => {
    const upload = await finished({ kind: 'folder', name: 'film.webm' });
    await deliver(upload);
    await ended(upload);
    expect((await readFile(path.join(folder, 'delivered/film.webm'))).equals(body)).toBe(true);
  });

  it('goes to S3, and what was begun by an attempt that failed is removed when it is given up', async () => {
    const s3Receiver = await S3Receiver.open();
    const s3 = new S3Storage(
      {
        ...{ endpoint: s3Receiver.endpoint, region: 'eu', bucket: 'films', prefix: '', pathStyle: true },
        ...{ credentials: { accessKeyId: 'a', secretAccessKey: 'b' }, partBytes: 5 * 1024 * 1024 },
      },
      guard,
    );
    try {
      await Promise.all(opened.splice(0).map((one) => one.close()));
      uploads = await open({ s3 });
      const [good, bad] = [
        await finished({ kind: 's3', key: 'good.webm' }),
        await finished({ kind: 's3', key: 'bad.webm' }),
      ];
      await deliver(good);
      await ended(good);
      expect(s3Receiver.objects.get('films/good.webm')?.body.equals(body)).toBe(true);
      const large = randomBytes(6 * 1024 * 1024);
      await writeFile(bad.file.path, large);
      s3Receiver.fail('CompleteMultipartUpload', (request, response) => {
        request.resume();
        answer(response, 400, 'InvalidRequest');
      });
      await deliver({ ...bad, file: { ...bad.file, sizeBytes: large.length } });
      await ended(bad);
      expect([await tagOf(bad), s3Receiver.uploads.size]).toEqual(['failed', 0]);
    } finally {
      s3.close();
      await s3Receiver.close();
    }
  });

  it('waits when the platform has no such destination', async () => {
    const upload = await finished({ kind: 's3', key: 'film.webm' });
    await deliver(upload);
    await waitFor(async () => {
      const state = await uploads.state(upload.recordingId);
      return state?.tag === 'pending' && (state.lastFailure?.words.includes('configured') ?? false);
    });
  });

  it('shows none of its URL', async () => {
    receiver.faults.push((_request, response) => answer(response, 403, 'AccessDenied'));
    const upload = await finished();
    await deliver(upload);
    await ended(upload);
    const shown = [
      await uploads.state(upload.recordingId),
      await outbox.list(),
      await outbox.attempts(`upload:${upload.recordingId}`),
      told,
    ];
    const text = JSON.stringify(shown, (_name, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
    expect(text).not.toContain('hidden');
  });
});
