import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { type Container, finishFile, Recorder } from './index.js';
import { captureRtp, run } from './testing/ffmpeg.js';
import { MemoryTarget, partOf } from './testing/parts.js';
import { seededRandom, sendLoop } from './testing/virtual-sender.js';

const START_MS = 1_800_000_000_000;
const SECONDS = 20;

let folder: string;
let browser: Browser;
let page: Page;
let server: Server;
const files = new Map<string, Buffer>();

/** A web server that knows byte ranges, as every real one does. */
function serve(): Server {
  return createServer((request, response) => {
    const file = files.get(request.url ?? '');
    if (file === undefined) {
      response.setHeader('content-type', 'text/html').end('<!doctype html><video muted></video>');
      return;
    }
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? 'bytes=0-') ?? [];
    const end = to === '' ? file.length - 1 : Math.min(Number(to), file.length - 1);
    response.writeHead(206, {
      'accept-ranges': 'bytes',
      'content-type': `video/${request.url!.split('.').at(-1)}`,
      'content-range': `bytes ${from}-${end}/${file.length}`,
      'content-length': end - Number(from) + 1,
    });
    response.end(file.subarray(Number(from), end + 1));
  });
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'player-'));
  server = serve();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  browser = await chromium.launch({
    executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--autoplay-policy=no-user-gesture-required'],
  });
  page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}, 60_000);
afterAll(async () => {
  await browser.close();
  server.closeAllConnections();
  server.close();
  await rm(folder, { recursive: true });
});

/** A recording whose picture shows the second by its shade of grey. */
async function recording(container: Container, video: readonly string[], audio: readonly string[]): Promise<Buffer> {
  const source = join(folder, `${container}.mkv`);
  const grey = `color=black:s=160x120:r=25,geq=lum='16+10*floor(T)':cb=128:cr=128`;
  await run('ffmpeg', [
    ...['-v', 'error', '-f', 'lavfi', '-i', grey, '-f', 'lavfi', '-i', 'sine=r=48000', '-t', String(SECONDS)],
    ...['-pix_fmt', 'yuv420p', ...video, ...audio, source],
  ]);
  const clip = await captureRtp(folder, source, ['video', 'audio']);
  const recorder = new Recorder({ container, tracks: clip.tracks });
  const written: Uint8Array[] = [];
  const paths = clip.tracks.map(() => ({ reportEveryMs: 2_000 }));
  const durationMs = SECONDS * 1000;
  let flushedMs = START_MS;
  for (const sent of sendLoop({
    clip,
    clipMs: durationMs,
    startMs: START_MS,
    durationMs,
    paths,
    random: seededRandom(1),
  })) {
    for (; flushedMs + 1_000 <= sent.atMs; flushedMs += 1_000) written.push(...recorder.flush(flushedMs + 1_000));
    recorder.take(sent.track, sent.packet, sent.atMs);
  }
  written.push(...recorder.end(START_MS + durationMs));
  const target = new MemoryTarget();
  await finishFile([partOf(Buffer.concat(written))], target);
  return target.bytes;
}

describe("Chromium's <video>", { timeout: 120_000 }, () => {
  it.each([
    ['webm', ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-g', '50'], ['-c:a', 'libopus']],
    ['mp4', ['-c:v', 'libx264', '-preset', 'ultrafast', '-g', '50'], ['-c:a', 'aac']],
  ] as const)('shows the duration of a %s file and seeks to the right picture', async (container, video, audio) => {
    files.set(`/file.${container}`, await recording(container, video, audio));
    const seen = await page.evaluate(
      async ({ url, times }) => {
        const player = document.querySelector('video')!;
        const happens = (event: string) =>
          new Promise<void>((resolve, reject) => {
            player.addEventListener(event, () => resolve(), { once: true });
            player.addEventListener('error', () => reject(new Error(player.error?.message)), { once: true });
          });
        player.src = url;
        await happens('loadeddata');
        const canvas = document.createElement('canvas');
        const context = canvas.getContext('2d')!;
        const greys: number[] = [];
        // A busy browser may tell of the seek before it shows the picture.
        const isShown = (time: number) =>
          new Promise<void>((resolve) => {
            const look: VideoFrameRequestCallback = (_now, { mediaTime }) => {
              if (Math.abs(mediaTime - time) < 0.5) resolve();
              else player.requestVideoFrameCallback(look);
            };
            player.requestVideoFrameCallback(look);
          });
        for (const time of times) {
          const shown = isShown(time);
          player.currentTime = time;
          await happens('seeked');
          await shown;
          context.drawImage(player, 0, 0, 8, 8);
          greys.push(context.getImageData(4, 4, 1, 1).data[0]!);
        }
        return { durationS: player.duration, greys };
      },
      { url: `/file.${container}`, times: [15.5, 3.5, 11.5, 18.5, 0.5] },
    );
    expect(Math.abs(seen.durationS - SECONDS)).toBeLessThan(0.05);
    const seconds = seen.greys.map((grey) => Math.round(((grey / 255) * 219) / 10));
    expect(seconds).toEqual([15, 3, 11, 18, 0]);
  });
});
