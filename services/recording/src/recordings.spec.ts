import { appendFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EndReason } from '@weir/contracts';
import { Recorder as MediaRecorder } from '@weir/recorder';
import { canMountDisks, SmallDisk, waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import type { RecordingRow } from './store.js';
import { MediaNode } from './testing/media-node.js';
import type { RecordingAnswer } from './rest.js';
import { answer, PutReceiver } from './testing/put-receiver.js';
import { KEYS, probed, Recorder, startSurroundings, type Surroundings } from './testing/recorder.js';
import { WebhookReceiver } from './testing/webhook-receiver.js';

let around: Surroundings;
let media: MediaNode;
let recorder: Recorder;

beforeAll(async () => {
  around = await startSurroundings();
}, 60_000);

afterAll(() => around.stop());

beforeEach(async () => {
  media = await MediaNode.start(around.nats.url);
  recorder = await Recorder.start(around.env);
}, 30_000);

afterEach(async () => {
  await recorder.stop();
  await media.stop();
});

const until = (state: string, id: string, by = recorder) =>
  waitFor(
    async () => {
      const { body } = await by.request('GET', `/recordings/${id}`);
      return body.state === state && body;
    },
    { what: `recording ${id} to be ${state}`, timeoutMs: 20_000 },
  );

const begun = async (streamName: string, wishes: object = {}): Promise<string> => {
  media.publish(streamName);
  const { status, body } = await recorder.request('POST', '/recordings', { body: { stream: streamName, ...wishes } });
  expect(status, JSON.stringify(body)).toBe(201);
  return body.id;
};

const factsOf = (row: RecordingRow | undefined) => z.object({ losses: z.number() }).parse(row?.facts);

const recordedBytes = (id: string, bytes: number, by = recorder) =>
  waitFor(() => (by.recording.recordings.progressOf(id)?.sizeBytes ?? 0) > bytes, {
    what: `${bytes} bytes of ${id}`,
    timeoutMs: 20_000,
  });

describe('a recording', () => {
  it('becomes a seekable file when it is stopped, and plays with byte ranges', async () => {
    const id = await begun('door');
    await recordedBytes(id, 60_000);
    await recorder.request('POST', `/recordings/${id}/stop`);
    const finished = await until('finished', id);
    expect(finished).toMatchObject({ reason: 'stopped', container: 'webm', stream: 'door' });
    const file = recorder.recording.recordings.folderOf(id).filePath('webm');
    const probe = await probed(file);
    expect(probe.complaints).toBe('');
    expect(probe.codecs).toEqual(['opus', 'vp8']);
    expect(Math.abs(probe.durationMs - finished.durationMs)).toBeLessThan(40);
    expect(await readdir(recorder.recording.recordings.folderOf(id).path)).toEqual(['file.webm']);

    const { body: playback } = await recorder.request('POST', `/recordings/${id}/playback`);
    const { pathname, search } = new URL(playback.url);
    const whole = await recorder.request('GET', pathname + search, { as: null });
    expect([whole.status, whole.bytes.length]).toEqual([200, finished.sizeBytes]);
    const part = await recorder.request('GET', pathname + search, { as: null, headers: { range: 'bytes=100-199' } });
    expect(part.status).toBe(206);
    expect(part.bytes.equals(whole.bytes.subarray(100, 200))).toBe(true);
    expect((await recorder.request('GET', `${pathname}${search}x`, { as: null })).status).toBe(401);
    expect((await recorder.request('GET', pathname, { as: null })).status).toBe(400);
  }, 60_000);

  it('is delivered to its destination, also a second time, and shows how that goes', async () => {
    const receiver = await PutReceiver.open();
    try {
      const refused = await recorder.request('POST', '/recordings', {
        body: {
          stream: 'door',
          destination: { kind: 'put', url: `${receiver.url('/x')}?X-Amz-Date=20200101T000000Z&X-Amz-Expires=60` },
        },
      });
      expect(refused.status).toBe(400);
      const id = await begun('porch', { destination: { kind: 'put', url: receiver.url('/porch.webm') } });
      await recordedBytes(id, 20_000);
      await recorder.request('POST', `/recordings/${id}/stop`);
      const { sizeBytes } = await until('delivered', id);
      const [stored] = receiver.stored.values();
      expect(stored?.body.length).toBe(sizeBytes);
      expect((await recorder.request('GET', `/recordings/${id}/delivery`)).body.state).toBe('delivered');
      const { status } = await recorder.request('POST', `/recordings/${id}/delivery`, {
        body: { destination: { kind: 'put', url: receiver.url('/again.webm') } },
      });
      expect(status).toBe(202);
      await waitFor(() => receiver.stored.size === 2, { what: 'the second delivery' });
    } finally {
      await receiver.close();
    }
  }, 60_000);

  it('tells its webhook how each delivery ended, logs every attempt, and can repeat both', async () => {
    const [receiver, hook] = await Promise.all([PutReceiver.open(), WebhookReceiver.open()]);
    try {
      const refused = await recorder.request('POST', '/recordings', {
        body: { stream: 'shed', webhook: 'http://10.0.0.1/' },
      });
      expect([refused.status, refused.body.error.message]).toEqual([400, expect.stringContaining('webhook can')]);
      receiver.faults.push((_request, response) => answer(response, 403, 'AccessDenied'));
      hook.statuses.push(503);
      const id = await begun('shed', {
        ...{ destination: { kind: 'put', url: receiver.url('/shed.webm?key=hidden') }, webhook: hook.url },
      });
      await recordedBytes(id, 20_000);
      await recorder.request('POST', `/recordings/${id}/stop`);
      await until('failed', id);
      await waitFor(() => hook.told.length === 1, { what: 'the first webhook', timeoutMs: 20_000 });
      expect(hook.told[0]?.body).toMatchObject({ status: 'upload_failed', rec_id: id, upload_status_code: 403 });

      const log = async () => (await recorder.request('GET', `/recordings/${id}/deliveries`)).body.deliveries;
      const replay = (delivery: string) =>
        recorder.request('POST', `/recordings/${id}/deliveries/${delivery}/replay`, { body: {} });
      await waitFor(async () => (await log())[1]?.state === 'delivered', { what: 'the log of the webhook' });
      const [upload, webhook, ...more] = await log();
      expect(more).toEqual([]);
      expect(upload).toMatchObject({
        ...{ id: `upload:${id}`, kind: 'upload', destination: '127.0.0.1', state: 'failed', nextAttemptAt: null },
        attempts: [{ result: 'failed', status: 403, error: expect.stringContaining('403') }],
      });
      expect(webhook).toMatchObject({
        ...{ id: hook.told[0]?.id, kind: 'webhook', destination: '127.0.0.1', endedAt: expect.any(String) },
        attempts: [
          { result: 'failed', status: 503, error: 'the receiver says 503' },
          { result: 'delivered', status: 200, error: null },
        ],
      });
      expect(JSON.stringify([upload, webhook])).not.toContain('hidden');

      expect(await replay(webhook.id)).toMatchObject({ status: 202, body: { outcome: 'replayed' } });
      await waitFor(() => hook.told.length === 2, { what: 'the webhook again' });
      expect(hook.told[1]).toEqual(hook.told[0]);
      expect(await replay(upload.id)).toMatchObject({ status: 202, body: { outcome: 'replayed' } });
      const { sizeBytes } = await until('delivered', id);
      await waitFor(() => hook.told.length === 3, { what: 'the last webhook', timeoutMs: 20_000 });
      expect(hook.told[2]?.body).toMatchObject({ status: 'upload_ready', recording_file_size_bytes: sizeBytes });
      expect((await replay('upload:another')).status).toBe(404);
    } finally {
      await Promise.all([receiver.close(), hook.close()]);
    }
  }, 60_000);

  it('ends with its stream', async () => {
    const id = await begun('gate');
    await recordedBytes(id, 20_000);
    media.endStream('gate');
    expect(await until('finished', id)).toMatchObject({ reason: 'the stream ended' });
  }, 60_000);

  it('goes on with another part when its stream comes back on another node, and names the gap', async () => {
    const id = await begun('yard');
    await recordedBytes(id, 20_000);
    media.endStream('yard', EndReason.NODE_LOST);
    await until('waiting', id);
    media.publish('yard');
    await until('recording', id);
    await recordedBytes(id, (recorder.recording.recordings.progressOf(id)?.sizeBytes ?? 0) + 20_000);
    await recorder.request('POST', `/recordings/${id}/stop`);
    const { details } = await until('finished', id);
    expect(details).toMatchObject({ parts: 2, joints: [{ atMs: expect.any(Number), missingMs: expect.any(Number) }] });
    expect(await probed(recorder.recording.recordings.folderOf(id).filePath('webm'))).toMatchObject({ complaints: '' });
  }, 60_000);

  it('is split by time: the files follow each other, and one stop ends them all', async () => {
    const id = await begun('hall', { splitMs: 2_000 });
    const chain = () =>
      recorder.request('GET', '/recordings?stream=hall').then(({ body }) => body.recordings as RecordingAnswer[]);
    await waitFor(async () => (await chain()).length >= 3, { what: 'three files', timeoutMs: 30_000 });
    await recorder.request('POST', `/recordings/${id}/stop`);
    const files = await waitFor(
      async () => {
        const all = await chain();
        // The last file may have begun just before the stop, with nothing in it.
        const isOver = all.map(
          ({ state, reason }) => state === 'finished' || reason === 'nothing was recorded: stopped',
        );
        return !isOver.includes(false) && all;
      },
      { what: 'all files', timeoutMs: 20_000 },
    );
    const inOrder = files.toSorted((a, b) => a.splitIndex - b.splitIndex);
    expect(inOrder.map(({ splitOf }) => splitOf)).toEqual([null, ...inOrder.slice(1).map(() => id)]);
    expect(inOrder.map(({ splitIndex }) => splitIndex)).toEqual(inOrder.map((_, index) => index));
    expect(inOrder.at(0)?.reason).toBe('split');
  }, 60_000);

  it('of a stream that fits into no WebM becomes an MP4', async () => {
    const other = await MediaNode.start(around.nats.url, 'H264');
    try {
      await media.stop();
      other.publish('film');
      const { body } = await recorder.request('POST', '/recordings', { body: { stream: 'film' } });
      await recordedBytes(body.id, 50_000);
      await recorder.request('POST', `/recordings/${body.id}/stop`);
      await until('finished', body.id);
      const probe = await probed(recorder.recording.recordings.folderOf(body.id).filePath('mp4'));
      expect(probe).toMatchObject({ codecs: ['h264', 'opus'], complaints: '' });
    } finally {
      await other.stop();
    }
  }, 60_000);
});

describe('of the recordings of others', () => {
  it('nobody sees, plays, stops or deletes any', async () => {
    const id = await begun('bedroom');
    expect((await recorder.request('POST', '/recordings', { body: { stream: 'nowhere' } })).status).toBe(404);
    for (const as of [KEYS.viewer, KEYS.lobby])
      expect((await recorder.request('POST', '/recordings', { as, body: { stream: 'bedroom' } })).status).toBe(403);
    for (const as of [KEYS.viewer, KEYS.lobby, KEYS.neighbour]) {
      const answers = await Promise.all([
        recorder.request('GET', `/recordings/${id}`, { as }),
        recorder.request('POST', `/recordings/${id}/stop`, { as }),
        recorder.request('POST', `/recordings/${id}/playback`, { as }),
        recorder.request('DELETE', `/recordings/${id}`, { as }),
      ]);
      expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404]);
    }
    const listed = async (as: string) => (await recorder.request('GET', '/recordings', { as })).body.recordings;
    expect(await listed(KEYS.lobby)).toEqual([]);
    expect(await listed(KEYS.neighbour)).toEqual([]);
    expect((await recorder.request('GET', '/recordings', { as: KEYS.viewer })).status).toBe(403);
    expect((await recorder.request('GET', '/recordings', { as: null })).status).toBe(401);
    expect((await recorder.request('DELETE', `/recordings/${id}`)).status).toBe(400);
    await recordedBytes(id, 10_000);
    await recorder.request('POST', `/recordings/${id}/stop`);
    await until('finished', id);
    expect((await recorder.request('DELETE', `/recordings/${id}`)).status).toBe(204);
    expect((await recorder.request('POST', `/recordings/${id}/playback`)).status).toBe(404);
    expect((await recorder.request('GET', `/recordings/${id}`)).body.deleted).toBe('user');
  }, 60_000);
});

describe('when a recorder is gone', () => {
  it('another one takes its recordings over, and goes on', async () => {
    const id = await begun('garden');
    await recordedBytes(id, 30_000);
    const successor = await Recorder.start(around.env);
    try {
      await recorder.stop();
      await recordedBytes(id, 60_000, successor);
      await successor.request('POST', `/recordings/${id}/stop`);
      const { details } = await until('finished', id, successor);
      expect(details).toMatchObject({ parts: 2 });
    } finally {
      await successor.stop();
    }
  }, 60_000);

  it('and its stream too, what was recorded becomes a file', async () => {
    const id = await begun('attic');
    await recordedBytes(id, 30_000);
    const { path } = recorder.recording.recordings.folderOf(id);
    await recorder.stop();
    media.endStream('attic', EndReason.NODE_LOST);
    // The last write of a process that was killed, and a file that it was finishing.
    const [part = ''] = await readdir(path);
    await appendFile(join(path, part), Buffer.from([0xa3, 0x42]));
    await writeFile(join(path, 'file.tmp'), 'half');
    const successor = await Recorder.start(around.env);
    try {
      await until('finished', id, successor);
      await waitFor(async () => (await readdir(path)).length === 1, { what: 'the parts to be gone' });
      expect(await readdir(path)).toEqual(['file.webm']);
      expect(await probed(join(path, 'file.webm'))).toMatchObject({ complaints: '' });
    } finally {
      await successor.stop();
    }
  }, 60_000);
});

describe('media that make their reader fail', () => {
  it('end only their own recording, which keeps what was recorded', async () => {
    const [bad, good] = [await begun('bad'), await begun('good')];
    await Promise.all([recordedBytes(bad, 20_000), recordedBytes(good, 20_000)]);
    const failing = vi.spyOn(MediaRecorder.prototype, 'take').mockImplementationOnce(() => {
      throw new RangeError('no such byte');
    });
    try {
      const broken = await waitFor(
        async () => {
          const { body } = await recorder.request('GET', '/recordings?state=finished');
          return (body.recordings as RecordingAnswer[]).find(({ id }) => id === bad || id === good);
        },
        { what: 'the end of one of them', timeoutMs: 20_000 },
      );
      expect(broken.reason).toBe('its media could not be read: no such byte');
      expect(broken.durationMs).toBeGreaterThan(100);
      const other = broken.id === bad ? good : bad;
      await recordedBytes(other, 60_000);
      await recorder.request('POST', `/recordings/${other}/stop`);
      expect(await until('finished', other)).toMatchObject({ reason: 'stopped' });
    } finally {
      failing.mockRestore();
    }
  }, 60_000);
});

describe('when a process is killed', () => {
  it('what was lost while it recorded is still reported', async () => {
    const id = await begun('cellar');
    await recordedBytes(id, 20_000);
    media.loseVideo(3);
    const { store } = recorder.recording;
    // It must be stored while the part is being written: nobody closes the part of a process that is killed.
    await waitFor(async () => factsOf(await store.find(id)).losses > 0, { what: 'the loss', timeoutMs: 20_000 });
    expect((await store.find(id))?.state).toBe('RECORDING');
    const successor = await Recorder.start(around.env);
    try {
      await recorder.stop();
      await recordedBytes(id, 60_000, successor);
      await successor.request('POST', `/recordings/${id}/stop`);
      const { details } = await until('finished', id, successor);
      expect(details).toMatchObject({ parts: 2, tracks: [{ codec: 'opus' }, { codec: 'VP8' }] });
      expect(details.losses).toBeGreaterThan(0);
    } finally {
      await successor.stop();
    }
  }, 60_000);

  it('after the database had the file, the next one removes the parts', async () => {
    const id = await begun('shed');
    await recordedBytes(id, 20_000);
    await recorder.request('POST', `/recordings/${id}/stop`);
    await until('finished', id);
    const { path } = recorder.recording.recordings.folderOf(id);
    await recorder.stop();
    for (const name of ['part-0000000000000001-0000', 'file.tmp']) await writeFile(join(path, name), 'left behind');
    const successor = await Recorder.start(around.env);
    try {
      await waitFor(async () => (await readdir(path)).length === 1, { what: 'the removal of the parts' });
      expect(await readdir(path)).toEqual(['file.webm']);
    } finally {
      await successor.stop();
    }
  }, 60_000);

  it('while it deleted a file, the next one deletes the rest', async () => {
    const id = await begun('porch');
    await recordedBytes(id, 20_000);
    await recorder.request('POST', `/recordings/${id}/stop`);
    await until('finished', id);
    await recorder.recording.store.deleted(id, 'user');
    await recorder.stop();
    const successor = await Recorder.start(around.env);
    try {
      await waitFor(async () => !(await readdir(around.dir)).includes(id), { what: 'the removal of the folder' });
    } finally {
      await successor.stop();
    }
  }, 60_000);

  it('in the middle of a split, the next recording goes on, and the first only gets its file', async () => {
    const id = await begun('drive');
    await recordedBytes(id, 20_000);
    const names = { tenant: 'house', streamName: 'drive', urlKey: '' };
    const { store, recordings } = recorder.recording;
    const next = { id: `${id}-next`, ...names, splitOf: id, splitIndex: 1 };
    await recordings.folderOf(next.id).create();
    await store.add(next, { owner: 'recording-gone', epoch: 0n });
    await recorder.stop();
    const successor = await Recorder.start(around.env);
    try {
      expect(await until('finished', id, successor)).toMatchObject({ reason: 'split', details: { parts: 1 } });
      await until('recording', next.id, successor);
      await successor.request('POST', `/recordings/${id}/stop`);
    } finally {
      await successor.stop();
    }
  }, 60_000);
});

describe('when the database is killed', () => {
  it('and the answer to a start is lost, the start has failed and no recording is left', async () => {
    media.publish('loft');
    const { store } = recorder.recording;
    const add = store.add.bind(store);
    store.add = async (...arguments_) => {
      await add(...arguments_);
      throw new Error('the connection was lost');
    };
    const { status } = await recorder.request('POST', '/recordings', { body: { stream: 'loft' } });
    expect(status).toBe(500);
    store.add = add;
    const listed = () => recorder.request('GET', '/recordings?stream=loft');
    await waitFor(async () => (await listed()).body.recordings.length === 0, { what: 'the removal of the recording' });
  }, 60_000);

  it('and the answer to the end of a recording is lost, the end is done once, and its parts are removed', async () => {
    const id = await begun('pool');
    await recordedBytes(id, 20_000);
    const { store, recordings } = recorder.recording;
    const end = store.end.bind(store);
    let ends = 0;
    store.end = async (...arguments_) => {
      const ended = await end(...arguments_);
      // Other tests' recordings may end meanwhile.
      if (arguments_[0] === id && ends++ === 0) throw new Error('the connection was lost');
      return ended;
    };
    await recorder.request('POST', `/recordings/${id}/stop`);
    const { path } = recordings.folderOf(id);
    await waitFor(async () => (await readdir(path)).join() === 'file.webm', { what: 'the removal of the parts' });
    expect(ends).toBe(2);
    expect((await until('finished', id)).sizeBytes).toBeGreaterThan(20_000);
    expect(await store.end(id, 0n, {}, [])).toBeUndefined();
  }, 60_000);
});

describe.runIf(canMountDisks)('on a disk that fills up', () => {
  it('the largest recording ends and is kept, the others go on, and new ones are refused', async () => {
    const disk = SmallDisk.mount('24m');
    const small = await Recorder.start({
      ...around.env,
      WEIR_RECORDING_DIR: disk.folder,
      WEIR_RECORDING_MIN_FREE_BYTES: String(20 * 1024 * 1024),
    });
    const start = async (stream: string) => (await small.request('POST', '/recordings', { body: { stream } })).body.id;
    try {
      for (const name of ['first', 'second']) media.publish(name);
      const first = await start('first');
      await recordedBytes(first, 100_000, small);
      const second = await start('second');
      await writeFile(join(disk.folder, 'other'), Buffer.alloc(20 * 1024 * 1024 - 100_000));
      expect(await until('finished', first, small)).toMatchObject({ reason: 'the disk is full' });
      await rm(join(disk.folder, 'other'));
      expect(await probed(small.recording.recordings.folderOf(first).filePath('webm'))).toMatchObject({
        complaints: '',
      });
      await writeFile(join(disk.folder, 'other'), Buffer.alloc(8 * 1024 * 1024));
      const { status, body } = await small.request('POST', '/recordings', { body: { stream: 'first' } });
      expect([status, body.error.code]).toEqual([429, 'EXHAUSTED']);
      expect((await small.request('GET', `/recordings/${second}`)).body.state).toMatch(/recording|finish/);
    } finally {
      await small.stop();
      disk.unmount();
    }
  }, 60_000);
});
