import { Bus } from '@weir/bus';
import {
  ErrorCode,
  StreamRecordingEvents,
  StreamRecordingOwner,
  StreamRecordings,
  WeirError,
  type StreamRecordingChanged,
  type StreamRecordingFile,
} from '@weir/contracts';
import { waitFor } from '@weir/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MediaNode } from './testing/media-node.js';
import { Recorder, startSurroundings, type Surroundings } from './testing/recorder.js';

let around: Surroundings;
let media: MediaNode;
let recorder: Recorder;
let caller: Bus;
let told: StreamRecordingChanged[];

beforeAll(async () => {
  around = await startSurroundings();
  caller = await Bus.connect({ url: around.nats.url, service: 'wcs-signalling', instanceId: 'caller' });
  caller.subscribe(StreamRecordingEvents.method.recordingChanged, (changed) => void told.push(changed));
  media = await MediaNode.start(around.nats.url);
}, 60_000);

afterAll(async () => {
  await media.stop();
  await caller.drain();
  await around.stop();
});

beforeEach(() => {
  told = [];
});

afterEach(() => recorder.stop());

const begin = async (env: Record<string, string> = {}) => {
  recorder = await Recorder.start({ ...around.env, ...env });
};

const start = (key: string, streamName: string, more: object = {}) =>
  caller.call(StreamRecordings.method.start, { tenant: 'house', streamName, key, name: 'a name', ...more });
const toldOf = (asked: string) => told.filter(({ key }) => key === asked);
const stop = (key: string, tenant = 'house') => caller.call(StreamRecordings.method.stop, { tenant, key });
const listed = async (streamName: string) =>
  (await recorder.request('GET', `/recordings?stream=${streamName}`)).body.recordings;

describe('another service', () => {
  it('starts and stops a recording, hears of it, and finds its file in the list', async () => {
    await begin();
    media.publish('door');
    const { recording } = await start('session-1', 'door', { labels: { protocol: 'wcs' } });
    const id = recording?.recordingId ?? '';
    expect(recording).toMatchObject({ fileName: `${id}.webm` });
    expect(Number(recording?.startedAtMs)).toBeGreaterThan(0);
    expect(await listed('door')).toMatchObject([{ id, name: 'a name', stream: 'door' }]);
    const going = (tenant: string) => caller.call(StreamRecordings.method.list, { tenant });
    expect((await going('house')).recordings).toMatchObject([{ key: 'session-1', recording: { recordingId: id } }]);
    expect((await going('neighbours')).recordings).toEqual([]);
    await waitFor(() => (recorder.recording.recordings.progressOf(id)?.sizeBytes ?? 0) > 20_000, { what: 'bytes' });
    expect(await stop('session-1', 'neighbours')).toMatchObject({ stoppedCount: 0 });
    expect(await stop('session-1')).toMatchObject({ stoppedCount: 1 });
    expect(await stop('session-1')).toMatchObject({ stoppedCount: 0 });
    expect((await going('house')).recordings).toEqual([]);
    await waitFor(async () => (await listed('door'))[0].state === 'finished', { what: 'the file' });
    expect(toldOf('session-1')).toMatchObject([
      { tenant: 'house', key: 'session-1', recordingNow: true, recording: { recordingId: id } },
      { tenant: 'house', key: 'session-1', recordingNow: false, reason: 'stopped', recording: { recordingId: id } },
    ]);
  }, 60_000);

  it('makes one recording with one key, however often it asks, and several with several', async () => {
    await begin();
    media.publish('gate');
    const [one, same, other] = await Promise.all([start('k', 'gate'), start('k', 'gate'), start('k2', 'gate')]);
    const again = await start('k', 'gate');
    expect(same.recording?.recordingId).toBe(one.recording?.recordingId);
    expect(again.recording?.recordingId).toBe(one.recording?.recordingId);
    expect(other.recording?.recordingId).not.toBe(one.recording?.recordingId);
    expect(await listed('gate')).toHaveLength(2);
    await stop('k');
    const next = await start('k', 'gate');
    expect(next.recording?.recordingId).not.toBe(one.recording?.recordingId);
  }, 60_000);

  it('makes one recording with one key when two instances are asked at the same time', async () => {
    await begin();
    const second = await Recorder.start(around.env);
    try {
      media.publish('twice');
      const started = await Promise.all(Array.from({ length: 6 }, () => start('race', 'twice')));
      expect(new Set(started.map((answer) => answer.recording?.recordingId)).size).toBe(1);
      const asked = { tenant: 'house', streamName: 'twice', claim: 'another' };
      const tries = await Promise.allSettled(
        [recorder, second].map((instance) => instance.recording.recordings.record(asked)),
      );
      expect(tries.find(({ status }) => status === 'rejected')).toMatchObject({
        reason: { code: ErrorCode.ALREADY_EXISTS },
      });
      expect(await listed('twice')).toHaveLength(2);
      await stop('race');
      expect((await start('race', 'twice')).recording?.recordingId).not.toBe(started[0]?.recording?.recordingId);
    } finally {
      await second.stop();
    }
  }, 60_000);

  it('hears nothing when a recording is split, knows it by its first file, and stops the whole', async () => {
    await begin();
    media.publish('yard');
    const { recording } = await start('split', 'yard', { splitMs: 1_000 });
    await waitFor(async () => (await listed('yard')).length >= 2, { what: 'a second file', timeoutMs: 20_000 });
    expect(toldOf('split')).toHaveLength(1);
    expect((await start('split', 'yard')).recording?.recordingId).toBe(recording?.recordingId);
    expect(await stop('split')).toMatchObject({ stoppedCount: 1 });
    // The last file may have begun just before the stop, with nothing in it.
    const isOver = ({ state, reason }: { state: string; reason: string }) =>
      state === 'finished' || reason === 'nothing was recorded: stopped';
    await waitFor(async () => (await listed('yard')).every(isOver), { what: 'all files', timeoutMs: 20_000 });
    expect(toldOf('split').at(-1)).toMatchObject({
      recordingNow: false,
      recording: { recordingId: recording?.recordingId },
    });
  }, 60_000);

  it('hears of the files of its recordings if it asks for that, until it has answered', async () => {
    await begin();
    const files: StreamRecordingFile[] = [];
    const owner = caller.serve(StreamRecordingOwner.method.fileReady, (file) => {
      files.push(file);
      if (files.length === 1) throw new WeirError(ErrorCode.UNAVAILABLE, 'not now');
      return {};
    });
    try {
      media.publish('told');
      const untold = await start('untold', 'told');
      const { recording } = await start('told', 'told', { tellOwner: true, labels: { callId: 'c-1' } });
      const id = recording?.recordingId ?? '';
      const { recordings } = recorder.recording;
      for (const each of [untold.recording?.recordingId ?? '', id])
        await waitFor(() => (recordings.progressOf(each)?.sizeBytes ?? 0) > 20_000, { what: 'bytes' });
      for (const key of ['untold', 'told']) await stop(key);
      await waitFor(() => files.length >= 2, { what: 'the file again', timeoutMs: 20_000 });
      expect(files.map(({ tenant, recordingId, labels }) => ({ tenant, recordingId, labels }))).toEqual(
        Array(2).fill({ tenant: 'house', recordingId: id, labels: { callId: 'c-1' } }),
      );
      const all = await listed('told');
      expect(all.map(({ state }: { state: string }) => state)).toEqual(['finished', 'finished']);
    } finally {
      await owner.close();
    }
  }, 60_000);

  it('is refused like a REST client: no such stream, no room on the disk, an invalid request', async () => {
    await begin({ WEIR_RECORDING_MIN_FREE_BYTES: String(Number.MAX_SAFE_INTEGER) });
    media.publish('porch');
    await expect(start('refused', 'porch')).rejects.toMatchObject({ code: ErrorCode.EXHAUSTED });
    await expect(start('', 'porch')).rejects.toMatchObject({ code: ErrorCode.INVALID });
    await recorder.stop();
    await begin();
    await expect(start('refused', 'nowhere')).rejects.toMatchObject({ code: ErrorCode.NOT_FOUND });
    await recorder.stop();
    await expect(start('refused', 'porch')).rejects.toMatchObject({ code: ErrorCode.UNAVAILABLE });
  }, 60_000);
});
