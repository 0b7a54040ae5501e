import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ntpTimeOf, writeSenderReport } from '@weir/frames';
import { describe, expect, it } from 'vitest';

import { finishFile, type ReadablePart, Recorder } from './index.js';
import { H264_TRACK, OPUS_TRACK, SyntheticTrack, VP8_TRACK } from './testing/synthetic.js';

const START_MS = 1_800_000_000_000;
const HOUR_MS = 3_600_000;
const HOURS = 24;
/** Eight packets of sound and one picture a second instead of 50 and 30, so that a day passes in seconds. */
const SOUND_MS = 120;
const PICTURE_MS = 960;
const KEY_FRAME_MS = 4_800;
const FLUSH_MS = 960;
const REPORT_MS = 4_800;
const MEBIBYTE = 2 ** 20;
/** How many reads and writes there are from one look at the memory to the next. */
const LOOK_EVERY = 32;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function retainedBytes(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Records a day into a file. @returns what the process retained after each hour */
function recordDay(container: 'webm' | 'mp4', write: (bytes: Uint8Array) => void): { hours: number[]; ms: number } {
  const video = new SyntheticTrack(container === 'webm' ? VP8_TRACK : H264_TRACK);
  const audio = new SyntheticTrack(OPUS_TRACK, { ssrc: 0x2222, timestamp: 5_000 });
  const tracks = [video, audio];
  const recorder = new Recorder({ container, tracks: tracks.map(({ description }) => description) });
  const hours: number[] = [];
  for (let ms = 0; ms < HOURS * HOUR_MS; ms += SOUND_MS) {
    const nowMs = START_MS + ms;
    for (const [index, { numbers, description }] of ms % REPORT_MS === 0 ? tracks.entries() : []) {
      const rtpTimestamp = (numbers.timestamp + Math.round((ms * description.clockRate) / 1_000)) % 2 ** 32;
      const counts = { packetCount: 0, octetCount: 0 };
      const report = writeSenderReport({ ssrc: numbers.ssrc, ...ntpTimeOf(nowMs), rtpTimestamp, ...counts });
      recorder.take(index, report, nowMs);
    }
    if (ms % PICTURE_MS === 0) {
      const isKeyFrame = ms % KEY_FRAME_MS === 0;
      for (const packet of video.frame(ms, { isKeyFrame, bytes: 24 })) recorder.take(0, packet, nowMs);
    }
    for (const packet of audio.frame(ms, { soundFrames: SOUND_MS / 20 })) recorder.take(1, packet, nowMs);
    if (ms % FLUSH_MS === 0) for (const bytes of recorder.flush(nowMs)) write(bytes);
    if ((ms + SOUND_MS) % HOUR_MS === 0) hours.push(retainedBytes());
  }
  for (const bytes of recorder.end(START_MS + HOURS * HOUR_MS)) write(bytes);
  return { hours, ms: recorder.facts.durationMs };
}

describe.each(['webm', 'mp4'] as const)('a day in %s', (container) => {
  it('is recorded in the memory that its first hour needs, and finished in little more than its index', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'weir-day-'));
    const file = openSync(join(folder, 'part'), 'w+');
    try {
      let sizeBytes = 0;
      const { hours, ms } = recordDay(container, (bytes) => {
        sizeBytes += writeSync(file, bytes);
      });
      expect(hours).toHaveLength(HOURS);
      expect(Math.abs(ms - HOURS * HOUR_MS)).toBeLessThan(1_000);
      const [first = 0, last = 0] = [hours[0], hours.at(-1)];
      expect(last - first, `${hours.map((bytes) => Math.round(bytes / 1_024)).join(' ')} KiB`).toBeLessThan(MEBIBYTE);

      const before = retainedBytes();
      let most = before;
      let steps = 0;
      const look = () => {
        if (++steps % LOOK_EVERY === 0) most = Math.max(most, retainedBytes());
      };
      const part: ReadablePart = {
        sizeBytes,
        read: (offset, length) => {
          look();
          const bytes = new Uint8Array(length);
          readSync(file, bytes, 0, length, offset);
          return Promise.resolve(bytes);
        },
      };
      const finished = await finishFile([part], {
        write: () => {
          look();
          return Promise.resolve();
        },
      });
      expect(finished).toMatchObject({ tag: 'finished', container });
      if (finished.tag !== 'finished') return;
      expect(Math.abs(finished.durationMs - ms)).toBeLessThan(1);
      // 720,000 packets of sound and 90,000 pictures in 90,000 pieces.
      expect((most - before) / MEBIBYTE).toBeLessThan(48);
    } finally {
      closeSync(file);
      rmSync(folder, { recursive: true });
    }
  }, 300_000);
});
