import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ntpTimeOf, writeSenderReport } from '@weir/frames';
import { describe, expect, it } from 'vitest';

import { containerFor, finishFile, Recorder, type RecorderOptions } from './index.js';
import { MemoryTarget, partOf } from './testing/parts.js';
import { H264_TRACK, OPUS_TRACK, SyntheticTrack, VP8_TRACK } from './testing/synthetic.js';
import { seededRandom } from './testing/virtual-sender.js';

const START_MS = 1_800_000_000_000;
const VIDEO = 0;
const AUDIO = 1;
const FRAME_MS = 40;
const PACKET_MS = 20;

interface Script {
  readonly container?: 'webm' | 'mp4';
  readonly seconds: number;
  /** Whether a picture or sound is sent at this time. */
  readonly sends?: (track: number, ms: number) => boolean;
  readonly keyFrameEveryMs?: number;
  readonly sizeAt?: (ms: number) => { width: number; height: number };
  readonly options?: Partial<RecorderOptions>;
  readonly flushMs?: number;
  /** When the source's media begin to be recorded. */
  readonly fromMs?: number;
  /** How late everything arrives. */
  readonly lateMs?: number;
  /** Whether the source reports its clock, which is another than the recorder's. */
  readonly reports?: boolean;
}

const SENDER_CLOCK_MS = 70_000;

const reportOf = ({ numbers: { ssrc, timestamp }, description }: SyntheticTrack, ms: number): Uint8Array =>
  writeSenderReport({
    ...{ ssrc, ...ntpTimeOf(START_MS + SENDER_CLOCK_MS + ms), packetCount: 0, octetCount: 0 },
    rtpTimestamp: timestamp + (ms * description.clockRate) / 1000,
  });

/** Records a stream of one video and one audio track and returns what each flush wrote. */
function record({ container = 'webm', seconds, sends = () => true, keyFrameEveryMs = 2_000, ...rest }: Script) {
  const video = new SyntheticTrack(container === 'webm' ? VP8_TRACK : H264_TRACK);
  const audio = new SyntheticTrack(OPUS_TRACK, { ssrc: 0x2222, timestamp: 5_000 });
  const tracks = [video.description, audio.description];
  const recorder = new Recorder({ container, tracks, ...rest.options });
  const flushes: Buffer[] = [];
  const { flushMs = 1_000, fromMs = 0, lateMs = 0, reports = false } = rest;
  const arrivalMs = (ms: number) => START_MS + ms + lateMs;
  const endMs = fromMs + seconds * 1000;
  for (let ms = fromMs; ms < endMs; ms += PACKET_MS) {
    if (ms > fromMs && ms % flushMs === 0) flushes.push(Buffer.concat(recorder.flush(arrivalMs(ms))));
    if (reports && ms % 1_000 === 500)
      for (const [index, track] of [video, audio].entries()) recorder.take(index, reportOf(track, ms), arrivalMs(ms));
    const isKeyFrame = ms % keyFrameEveryMs === 0;
    const pictures =
      ms % FRAME_MS === 0 && sends(VIDEO, ms) ? video.frame(ms, { isKeyFrame, ...rest.sizeAt?.(ms) }) : [];
    for (const packet of pictures) recorder.take(VIDEO, packet, arrivalMs(ms));
    const sound = sends(AUDIO, ms) ? audio.frame(ms) : [];
    for (const packet of sound) recorder.take(AUDIO, packet, arrivalMs(ms));
  }
  flushes.push(Buffer.concat(recorder.end(arrivalMs(endMs))));
  return { recorder, flushes, bytes: Buffer.concat(flushes) };
}

async function finish(...parts: readonly Uint8Array[]) {
  const target = new MemoryTarget();
  const result = await finishFile(parts.map(partOf), target);
  return { result, bytes: target.bytes, durationMs: result.tag === 'finished' ? result.durationMs : 0 };
}

/** What ffprobe finds of each video in a file. */
async function pictureTimes(file: Uint8Array) {
  const folder = await mkdtemp(join(tmpdir(), 'recorder-'));
  try {
    await writeFile(join(folder, 'file'), file);
    const shown = 'stream=index,width,codec_type:packet=stream_index,pts_time';
    const { stdout } = await promisify(execFile)(
      'ffprobe',
      ['-v', 'error', '-show_entries', shown, '-of', 'json', join(folder, 'file')],
      { maxBuffer: 16 * 1024 * 1024 },
    );
    const { packets, streams } = JSON.parse(stdout) as {
      packets: { stream_index: number; pts_time: string }[];
      streams: { index: number; width: number; codec_type: string }[];
    };
    return streams
      .filter(({ codec_type }) => codec_type === 'video')
      .map(({ index, width }) => {
        const times = packets.filter((packet) => packet.stream_index === index).map(({ pts_time }) => Number(pts_time));
        return { width, firstMs: Math.round(Math.min(...times) * 1_000), count: times.length };
      });
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe('the file that a stream fits into', () => {
  const track = (kind: 'audio' | 'video', codec: string, parameters = {}) => ({
    ...{ kind, codec, clockRate: kind === 'video' ? 90_000 : 48_000, channels: kind === 'video' ? 0 : 2, parameters },
  });
  const aac = track('audio', 'MPEG4-GENERIC', { config: '1190' });

  it.each([
    [[track('video', 'VP8'), OPUS_TRACK], undefined, 'webm'],
    [[track('video', 'VP9')], undefined, 'webm'],
    [[OPUS_TRACK], undefined, 'webm'],
    [[OPUS_TRACK], 'mp4', 'mp4'],
    [[track('video', 'H264'), OPUS_TRACK], undefined, 'mp4'],
    [[track('video', 'H265'), aac], undefined, 'mp4'],
  ])('%o with the wish %s is %s', (tracks, wish, container) => {
    expect(containerFor(tracks, wish)).toEqual({ tag: 'fits', container });
  });

  it.each([
    [[track('video', 'H264')], 'webm', "without transcoding, WebM can't hold H264; it fits into mp4"],
    [[track('video', 'VP8'), aac], undefined, "WebM can't hold MPEG4-GENERIC, and MP4 can't hold VP8"],
    [[track('video', 'VP8')], 'avi', 'a recording is a webm or an mp4 file; "avi" is neither'],
    [[track('audio', 'PCMU')], undefined, "WebM can't hold PCMU, and MP4 can't hold PCMU"],
    [[track('audio', 'MPEG4-GENERIC')], undefined, "MP4 can't hold MPEG4-GENERIC whose parameters are missing"],
    [[], undefined, 'the stream has no track'],
    [Array.from({ length: 4 }, () => track('video', 'VP8')), undefined, 'at most 3 videos; the stream has 4'],
  ])('no file holds %o with the wish %s: %s', (tracks, wish, reason) => {
    const fit = containerFor(tracks, wish);
    expect(fit.tag === 'unfit' && fit.reason).toContain(reason);
  });
});

describe.each(['webm', 'mp4'] as const)('a recording in %s', (container) => {
  it('states the duration of what was sent, and when it began', async () => {
    const { bytes, recorder } = record({ container, seconds: 10 });
    const { result } = await finish(bytes);
    expect(result).toMatchObject({ tag: 'finished', container, joints: [] });
    if (result.tag !== 'finished') return;
    expect(Math.abs(result.durationMs - 10_000)).toBeLessThanOrEqual(PACKET_MS);
    expect(result.durationMs).toBeCloseTo(recorder.facts.durationMs, 0);
    expect(result.startedAtMs).toBeCloseTo(START_MS, 0);
  });

  it.each([
    ['sound', (track: number, ms: number) => track === VIDEO || ms < 2_000],
    ['picture', (track: number, ms: number) => track === AUDIO || ms < 2_000],
    ['sound from the beginning', (track: number) => track === VIDEO],
    ['picture from the beginning', (track: number) => track === AUDIO],
  ])('that has no %s for ten minutes writes the other track every second', (_, sends) => {
    const { flushes, recorder } = record({ container, seconds: 600, sends });
    const media = flushes.slice(4, -1);
    expect(media.length).toBeGreaterThan(590);
    expect(Math.min(...media.map(({ length }) => length))).toBeGreaterThan(25 * 40);
    expect(Math.abs(recorder.facts.durationMs - 600_000)).toBeLessThan(100);
  });

  it('begins with a key frame, and asks for one until it comes', () => {
    const { recorder, flushes } = record({
      container,
      seconds: 3,
      sends: (track, ms) => track === AUDIO || ms > 500,
      keyFrameEveryMs: 1_200,
    });
    expect(recorder.facts.startedAtMs).toBeCloseTo(START_MS + 1_200, 0);
    expect(flushes[0]!.length).toBe(0);
    expect(recorder.wantsKeyFrame(VIDEO)).toBe(false);
    expect(new Recorder({ container: 'webm', tracks: [VP8_TRACK] }).wantsKeyFrame(0)).toBe(true);
  });

  it('takes whatever source sends, even if none was known at first', () => {
    const video = new SyntheticTrack(container === 'webm' ? VP8_TRACK : H264_TRACK);
    // What a tap knows of a stream whose first packet hasn't come yet.
    const recorder = new Recorder({ container, tracks: [{ ...video.description, ...{ ssrc: 0 } }] });
    for (const ms of [0, 40, 80])
      for (const packet of video.frame(ms, { isKeyFrame: ms === 0 })) recorder.take(VIDEO, packet, START_MS + ms);
    expect(Buffer.concat(recorder.end(START_MS + 120)).length).toBeGreaterThan(2 * 200);
  });

  it('asks for a key frame when the last one was long ago, so that players can seek', () => {
    const { recorder } = record({ container, seconds: 12, keyFrameEveryMs: 100_000 });
    expect(recorder.wantsKeyFrame(VIDEO)).toBe(true);
  });

  it('loses at most the last flush, wherever a kill cuts it', async () => {
    const { bytes, flushes } = record({ container, seconds: 12 });
    const random = seededRandom(11);
    const ends = flushes.map((_, index) => flushes.slice(0, index + 1).reduce((sum, { length }) => sum + length, 0));
    const nearEnds = ends.flatMap((end) => [-9, -4, -1, 0, 1, 4, 9, 30].map((away) => end + away));
    const cuts = [...nearEnds, ...Array.from({ length: 300 }, () => Math.floor(random() * bytes.length))];
    for (const cut of cuts.filter((each) => each >= 0 && each <= bytes.length)) {
      const { result, durationMs, bytes: finished } = await finish(bytes.subarray(0, cut));
      const wholeFlushes = ends.filter((end) => end <= cut).length;
      expect(durationMs, `cut at ${cut}`).toBeGreaterThanOrEqual(wholeFlushes * 1_000 - 2 * FRAME_MS);
      if (result.tag === 'finished') expect(finished.length).toBe(result.sizeBytes);
      else expect(wholeFlushes).toBeLessThanOrEqual(1);
    }
  });

  it('leaves out what comes after damaged bytes', async () => {
    const { bytes, flushes } = record({ container, seconds: 5 });
    const damaged = Buffer.from(bytes);
    const at = flushes.slice(0, 3).reduce((sum, { length }) => sum + length, 0);
    damaged.fill(0, at);
    const { durationMs } = await finish(damaged);
    expect(Math.abs(durationMs - 3_000)).toBeLessThanOrEqual(FRAME_MS);
  });

  it('joins its parts, and reports what is missing between them', async () => {
    const first = record({ container, seconds: 5 });
    const second = record({ container, seconds: 4 });
    const cut = first.bytes.subarray(0, first.bytes.length - 700);
    const { result } = await finish(cut, new Uint8Array(0), second.bytes);
    if (result.tag !== 'finished') throw new Error(result.tag);
    const [joint] = result.joints;
    expect(result.joints).toHaveLength(1);
    expect(joint!.atMs).toBeLessThanOrEqual(5_000);
    expect(Math.abs(result.durationMs - joint!.atMs - 4_000)).toBeLessThanOrEqual(PACKET_MS);
  });

  it('reports by the sender’s clock what is missing between its parts, however late the media came', async () => {
    const missingMs = async (reports: boolean) => {
      const first = record({ container, seconds: 5, reports });
      const second = record({ container, seconds: 4, reports, fromMs: 8_000, lateMs: 800 });
      const { result } = await finish(first.bytes, second.bytes);
      if (result.tag !== 'finished') throw new Error(result.tag);
      return result.joints[0]?.missingMs ?? 0;
    };
    expect(Math.abs((await missingMs(true)) - 3_000)).toBeLessThanOrEqual(FRAME_MS);
    expect(Math.abs((await missingMs(false)) - 3_800)).toBeLessThanOrEqual(FRAME_MS);
  });

  it('leaves out the time in which the whole source was away for long', () => {
    const { recorder } = record({ container, seconds: 100, sends: (_, ms) => ms < 10_000 || ms >= 90_000 });
    expect(recorder.facts.durationMs).toBeLessThan(22_000);
    expect(recorder.facts.gaps.map(({ track, lengthMs }) => [track, Math.round(lengthMs / 1000)])).toEqual([
      [VIDEO, 80],
      [AUDIO, 80],
    ]);
  });

  it('is empty if nothing came', async () => {
    const { bytes } = record({ container, seconds: 5, sends: () => false });
    expect(bytes.length).toBe(0);
    expect((await finish(bytes)).result).toEqual({ tag: 'empty' });
  });
});

describe.each(['webm', 'mp4'] as const)('a recording of several videos in %s', (container) => {
  const videoTrack = container === 'webm' ? VP8_TRACK : H264_TRACK;
  // All synthetic H264 has the same size.
  const widthOf = (index: number) => (container === 'webm' ? 320 + index * 16 : 640);
  const cameras = () =>
    [0x1111, 0x3333, 0x4444].map((ssrc, index) => new SyntheticTrack(videoTrack, { ssrc, timestamp: index * 90_000 }));

  /** Each camera sends from one second to another. Those that don't begin at once are added when they begin. */
  function recordCameras(seconds: number, spans: readonly (readonly [from: number, to: number])[]) {
    const tracks = cameras();
    const isThere = ([from]: readonly [number, number]) => from === 0;
    const recorder = new Recorder({ container, tracks: spans.filter(isThere).map(() => videoTrack) });
    const pieces: Buffer[] = [];
    for (let ms = 0; ms < seconds * 1_000; ms += FRAME_MS) {
      if (ms > 0 && ms % 1_000 === 0) pieces.push(Buffer.concat(recorder.flush(START_MS + ms)));
      for (const [index, [from, to]] of spans.entries()) {
        if (from > 0 && ms === from * 1_000) recorder.addTrack(videoTrack);
        if (ms < from * 1_000 || ms >= to * 1_000) continue;
        for (const packet of tracks[index]!.frame(ms, { isKeyFrame: ms % 2_000 === 0, width: widthOf(index) }))
          recorder.take(index, packet, START_MS + ms);
      }
    }
    pieces.push(Buffer.concat(recorder.end(START_MS + seconds * 1_000)));
    return { bytes: Buffer.concat(pieces), recorder };
  }

  it('has a track for each, even for one that is added later', async () => {
    const { bytes, recorder } = recordCameras(8, [
      [0, 8],
      [0, 4],
      [4, 8],
    ]);
    const { result, bytes: file } = await finish(bytes);
    expect(result).toMatchObject({ tag: 'finished', durationMs: expect.closeTo(8_000, -2) });
    expect(recorder.facts.gaps).toEqual([{ track: 2, atMs: 0, lengthMs: expect.closeTo(4_000, -2) }]);
    expect(await pictureTimes(file)).toEqual([
      { width: widthOf(0), firstMs: 0, count: 200 },
      { width: widthOf(1), firstMs: 0, count: 100 },
      { width: widthOf(2), firstMs: 4_000, count: 100 },
    ]);
  });

  it('asks for key frames only of the video that has none', () => {
    const { recorder } = recordCameras(2, [[0, 2]]);
    recorder.addTrack(videoTrack);
    expect([0, 1, 2].map((track) => recorder.wantsKeyFrame(track))).toEqual([false, true, false]);
  });

  it('goes on with a part that has more videos', async () => {
    const first = recordCameras(4, [[0, 4]]).bytes;
    const second = recordCameras(4, [
      [0, 2],
      [0, 4],
    ]).bytes;
    const { bytes } = await finish(first, second);
    expect(await pictureTimes(bytes)).toEqual([
      { width: widthOf(0), firstMs: 0, count: 150 },
      { width: widthOf(1), firstMs: 4_000, count: 100 },
    ]);
  });

  it('takes no fourth video', () => {
    const recorder = new Recorder({ container, tracks: [videoTrack, videoTrack, videoTrack, OPUS_TRACK] });
    expect(() => recorder.addTrack(videoTrack)).toThrow('at most 3 videos');
  });
});

describe('parts of different tracks', () => {
  it('do not become one file', async () => {
    const both = record({ seconds: 2 });
    const video = new SyntheticTrack(VP8_TRACK);
    const recorder = new Recorder({ container: 'webm', tracks: [VP8_TRACK] });
    for (const packet of video.frame(0, { isKeyFrame: true })) recorder.take(0, packet, START_MS);
    const { result } = await finish(both.bytes, Buffer.concat(recorder.end(START_MS + 100)));
    expect(result).toEqual({ tag: 'different-tracks', part: 1 });
  });
});

describe('hostile media', () => {
  it('throws nothing, holds little, and becomes a file', async () => {
    const random = seededRandom(5);
    for (const container of ['webm', 'mp4'] as const) {
      const video = new SyntheticTrack(container === 'webm' ? VP8_TRACK : H264_TRACK);
      const audio = new SyntheticTrack(OPUS_TRACK, { ssrc: 0x2222 });
      const recorder = new Recorder({ container, tracks: [video.description, audio.description] });
      let nowMs = START_MS;
      let largest = 0;
      const written: Buffer[] = [];
      for (let round = 0; round < 20_000; round++) {
        const track = random() < 0.6 ? VIDEO : AUDIO;
        const source = track === VIDEO ? video : audio;
        if (random() < 0.01) source.numbers.timestamp = Math.floor(random() * 2 ** 32);
        if (random() < 0.01) source.numbers.ssrc = Math.floor(random() * 2 ** 32);
        if (random() < 0.01) source.numbers.sequenceNumber = Math.floor(random() * 2 ** 16);
        nowMs += random() < 0.001 ? random() * 100_000 : random() * 40;
        const size = { width: 1 + Math.floor(random() * 8_192), height: 1 + Math.floor(random() * 8_192) };
        const packets = source.frame(nowMs - START_MS, {
          isKeyFrame: random() < 0.1,
          ...size,
          bytes: 20 + random() * 500,
        });
        for (const packet of packets) {
          if (random() < 0.2) packet[Math.floor(random() * packet.length)] = Math.floor(random() * 256);
          const cut = random() < 0.05 ? Math.floor(random() * packet.length) : packet.length;
          recorder.take(random() < 0.01 ? 7 : track, packet.subarray(0, cut), nowMs);
        }
        if (round % 50 === 0) {
          const flushed = Buffer.concat(recorder.flush(nowMs));
          written.push(flushed);
          largest = Math.max(largest, flushed.length);
        }
      }
      written.push(...recorder.end(nowMs).map((chunk) => Buffer.from(chunk)));
      const whole = Buffer.concat(written);
      const { result, durationMs } = await finish(whole.subarray(0, whole.length / 2), whole);
      expect(result.tag).toBe('finished');
      expect(durationMs).toBeGreaterThan(60_000);
      expect(largest).toBeLessThan(4 * 1024 * 1024);
      expect(recorder.facts.gaps.length).toBeLessThanOrEqual(1_000);
    }
  });

  it('is dropped when more comes than anybody could want', () => {
    const video = new SyntheticTrack(VP8_TRACK);
    const recorder = new Recorder({ container: 'webm', tracks: [VP8_TRACK] });
    for (let ms = 0; ms < 4_000; ms += 2) {
      for (const packet of video.frame(ms, { isKeyFrame: ms === 0, bytes: 60_000 }))
        recorder.take(0, packet, START_MS + ms);
    }
    const written = recorder.flush(START_MS + 4_000).reduce((sum, { length }) => sum + length, 0);
    expect(written).toBeLessThan(40 * 1024 * 1024);
    expect(recorder.wantsKeyFrame(VIDEO)).toBe(true);
  });
});
