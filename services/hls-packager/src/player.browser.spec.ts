import { waitFor } from '@weir/testing';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { AAC, H264, OPUS, type Coding } from './testing/fake-media.js';
import { Player } from './testing/player.js';
import { servePlayerPage } from './testing/page-server.js';
import { startService, startSurroundings, type Running, type Surroundings } from './testing/service.js';

interface HlsPlayer {
  latency: number;
  latestLevelDetails?: { live: boolean } | null;
  loadSource(url: string): void;
  attachMedia(video: HTMLVideoElement): void;
  on(
    event: string,
    listener: (event: string, data: { fatal?: boolean; details?: string; part?: unknown }) => void,
  ): void;
}

declare global {
  interface Window {
    Hls: new (config: Record<string, unknown>) => HlsPlayer;
    player: HlsPlayer;
    parts: number;
    errors: string[];
  }
}

let around: Surroundings;
let service: Running;
let browser: Browser;
let page: Page;
let pages: Awaited<ReturnType<typeof servePlayerPage>>;
let token: string;

beforeAll(async () => {
  around = await startSurroundings();
  pages = await servePlayerPage(() => service.url);
  token = await around.auth.token();
  browser = await chromium.launch({
    executablePath: process.env['CHROMIUM_BIN'] ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--autoplay-policy=no-user-gesture-required',
    ],
  });
});
afterAll(async () => {
  await browser.close();
  await pages.close();
  await around.stop();
});
afterEach(async () => {
  await page.close();
  await service.stop();
});

async function play(stream: string, coding: Coding, env: Record<string, string> = {}): Promise<void> {
  service = await startService(around, env);
  await around.media.publish(stream, coding);
  await open(stream);
}

async function open(stream: string): Promise<void> {
  page = await browser.newPage();
  await page.goto(pages.url);
  await page.evaluate(
    ({ url, bearer }) => {
      window.parts = 0;
      window.errors = [];
      const player = new window.Hls({
        lowLatencyMode: true,
        xhrSetup: (xhr: XMLHttpRequest, address: string) => {
          if (address.includes('.m3u8')) xhr.setRequestHeader('authorization', `Bearer ${bearer}`);
        },
      });
      window.player = player;
      player.on('hlsFragLoaded', (_event, { part }) => {
        if (part !== undefined && part !== null) window.parts += 1;
      });
      player.on('hlsError', (_event, { fatal, details }) => window.errors.push(`${fatal ? 'fatal ' : ''}${details}`));
      player.loadSource(url);
      const video = document.querySelector('video');
      if (video === null) throw new Error('no video');
      player.attachMedia(video);
      void video.play();
    },
    { url: `/videos/${stream}/index.m3u8`, bearer: token },
  );
}

const state = () =>
  page.evaluate(() => {
    const video = document.querySelector('video');
    return {
      timeS: video?.currentTime ?? 0,
      pictures: video?.getVideoPlaybackQuality().totalVideoFrames ?? 0,
      width: video?.videoWidth ?? 0,
      latencyS: window.player.latency,
      parts: window.parts,
      errors: window.errors,
      isLive: window.player.latestLevelDetails?.live,
    };
  });

/** Waits until the player has shown this many more pictures. */
async function shows(pictures: number, what: string): Promise<Awaited<ReturnType<typeof state>>> {
  const before = await state();
  return waitFor(
    async () => {
      const now = await state();
      if (now.pictures < before.pictures + pictures) throw new Error(JSON.stringify(now));
      return now;
    },
    { timeoutMs: 25_000, intervalMs: 100, what },
  );
}

describe('hls.js in Chromium', { timeout: 60_000 }, () => {
  it.each([
    ['H.264 and Opus', { video: H264, audio: OPUS }],
    ['H.264 and AAC', { video: H264, audio: AAC }],
  ])('plays %s part by part, close to the live edge', async (_name, coding) => {
    await play('live', coding);
    const { latencyS, parts, width, errors } = await shows(150, 'five seconds of pictures');
    expect(width).toBe(320);
    expect(parts).toBeGreaterThan(10);
    expect(errors.filter((error) => error.startsWith('fatal'))).toEqual([]);
    expect(latencyS).toBeGreaterThan(0);
    // A player without low latency is three target durations behind.
    expect(latencyS).toBeLessThan(12);
    console.log(`latency ${latencyS.toFixed(2)} s, ${parts} parts, ${errors.join(', ') || 'no errors'}`);
  });

  it('goes on after the source was away, with its new size', async () => {
    await play('returning', { video: H264, audio: OPUS });
    await shows(30, 'a second of pictures');
    around.media.unpublish('returning');
    await waitFor(() => service.packager.packagings.find('demo', 'returning')?.state === 'away');
    await around.media.publish('returning', { video: H264, audio: OPUS }, { size: '480x272' });
    await waitFor(async () => (await state()).width === 480, { timeoutMs: 20_000, what: 'the new size' });
    const { errors } = await shows(60, 'pictures of the source that has returned');
    expect(errors.filter((error) => error.startsWith('fatal'))).toEqual([]);
  });

  it('goes on after the service was killed and started again', async () => {
    await play('killed', { video: H264, audio: OPUS });
    await shows(60, 'two seconds of pictures');
    await service.die();
    service = await startService(around, {}, { port: service.port });
    const { errors } = await shows(90, 'three seconds of pictures from the new one');
    expect(errors.filter((error) => error.startsWith('fatal'))).toEqual([]);
  });

  it('shows a picture to a viewer who comes when the last key frame is older than the window', async () => {
    service = await startService(around, { WEIR_HLS_MAX_SEGMENT_MS: '1000', WEIR_HLS_WINDOW_MS: '3000' });
    await around.media.publish('rare', { video: [...H264, '-g', '100000'] });
    const watching = new Player(service.url, { authorization: `Bearer ${token}` });
    await waitFor(
      async () => {
        const text = await watching.text('/videos/rare/media.m3u8');
        return Number(/#EXT-X-START:TIME-OFFSET=-([\d.]+)/.exec(text)?.[1] ?? 0) > 6;
      },
      { timeoutMs: 30_000, intervalMs: 200, what: 'the window to have passed the key frame' },
    );
    await open('rare');
    expect((await shows(90, 'three seconds of pictures')).width).toBe(320);
  });

  it('ends with the stream', async () => {
    await play('ending', { video: H264 }, { WEIR_HLS_SOURCE_GRACE_MS: '1000' });
    await shows(30, 'a second of pictures');
    around.media.unpublish('ending');
    await waitFor(async () => (await state()).isLive === false, { timeoutMs: 20_000, what: 'the end of the playlist' });
    await waitFor(() => page.evaluate(() => document.querySelector('video')?.ended), { timeoutMs: 20_000 });
    expect((await state()).errors.filter((error) => error.startsWith('fatal'))).toEqual([]);
  });
});
