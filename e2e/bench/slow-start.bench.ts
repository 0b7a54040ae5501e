import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { startBrowser } from '../src/browser.js';
import { serveOnLoopback, type LoopbackServer } from '../src/loopback-server.js';
import { startSite } from '../src/site.js';
import type { Benchmark } from './benchmark.js';
import { ChildProgram } from './child-program.js';
import { agesOf, takeReadings, watchClock } from './clock-watch.js';
import { logIn } from './demo-user.js';
import { playByHlsJs, slowDown } from './hls-js-page.js';
import { PLAYLIST_CHANGES, type PlaylistChange } from './playlist-changes.js';
import { RtspPushes } from './rtsp-pushes.js';
import { median, quantile } from './samples.js';

const STREAM = 'bench-slow-start';
/** How many times slower the page is at first. */
const RATES = [1, 6];
const RATES_SHORT = [1, 2];

interface Start {
  firstPictureMs: number;
  /** The age of the picture on the screen, once the page runs at normal speed again. */
  ageMs: number;
}

/**
 * By default, hls.js keeps the distance from the end that it has after its start. Can a changed playlist make it come
 * closer although the start is slow?
 */
export const slowStart: Benchmark = {
  name: 'slow-start',
  async run({ platform, short, log }) {
    const { starts, slowMs, settleMs, watchMs, rates } = short
      ? { starts: 1, slowMs: 500, settleMs: 500, watchMs: 1_000, rates: RATES_SHORT }
      : { starts: 3, slowMs: 10_000, settleMs: 4_000, watchMs: 3_000, rates: RATES };
    const changes = short ? PLAYLIST_CHANGES.slice(0, 2) : PLAYLIST_CHANGES;
    const closers: (() => Promise<unknown>)[] = [];
    const opened = <Opened>(what: Opened, close: (what: Opened) => Promise<unknown>): Opened => {
      closers.unshift(() => close(what));
      return what;
    };
    try {
      const site = opened(await startSite(), (one) => one.close());
      const pushes = opened(await RtspPushes.connect(platform), (one) => one.close());
      const push = `[f=rtsp:rtsp_transport=tcp]${await pushes.expect(STREAM)}`;
      opened(await ChildProgram.start('clock-source', [push]), (one) => one.stop());
      const browser = opened(await startBrowser(), (one) => one.close());
      const path = `/videos/~/${STREAM}/index.m3u8?token=${encodeURIComponent(await logIn(platform))}`;
      const servers = new Map<string, LoopbackServer>();
      for (const change of changes)
        servers.set(
          change.name,
          opened(await serveChanged(platform.httpUrl, change), (one) => one.close()),
        );
      await waitFor(async () => (await fetch(platform.httpUrl + path)).ok, { timeoutMs: 30_000, what: 'a playlist' });

      const start = async (url: string, rate: number): Promise<Start> => {
        const context = await browser.newContext({ viewport: { width: 700, height: 420 } });
        try {
          // The page is slowed down from before it opens, so that its scripts are slow, too.
          const slowed: Promise<(to: number) => Promise<void>>[] = [];
          context.on('page', (page) => slowed.push(slowDown(context, page, rate)));
          const startedMs = performance.now();
          const { page, video } = await playByHlsJs(context, site.url, url);
          await page.waitForFunction(
            (selector) => (document.querySelector<HTMLVideoElement>(selector)?.currentTime ?? 0) > 0,
            video,
            { timeout: 60_000, polling: 50 },
          );
          const firstPictureMs = performance.now() - startedMs;
          await sleep(slowMs);
          for (const change of await Promise.all(slowed)) await change(1);
          await sleep(settleMs);
          await watchClock(page, video);
          await sleep(watchMs);
          const ages = agesOf(await takeReadings(page)).samples.map(({ ageMs }) => ageMs);
          return { firstPictureMs, ageMs: quantile(ages, 0.5) };
        } finally {
          await context.close();
        }
      };

      const started = new Map(changes.map(({ name }) => [name, new Map<number, Start[]>()]));
      for (let round = 1; round <= starts; round += 1)
        for (const rate of rates) {
          for (const [name, { url }] of servers) {
            const byRate = started.get(name);
            byRate?.set(rate, [...(byRate.get(rate) ?? []), await start(url + path, rate)]);
          }
          log(`round ${round} of ${starts}: ${rate} times slower`);
        }
      return {
        tables: [
          {
            title: 'hls.js with its defaults after a slow start: ms, medians',
            columns: ['', ...rates.flatMap((rate) => [`${rate}x: first picture`, 'age', 'age max'])],
            rows: [...started].map(([name, byRate]) => [
              name,
              ...rates.flatMap((rate) => {
                const all = byRate.get(rate) ?? [];
                const ages = all.map(({ ageMs }) => ageMs);
                const first = all.map(({ firstPictureMs }) => firstPictureMs);
                return [median(first), median(ages), Math.max(...ages)].map(Math.round);
              }),
            ]),
            note:
              `${starts} starts each. The page is slowed down until ${slowMs / 1_000} s after its first picture, and runs ` +
              `at normal speed from then on; the age of the picture is measured ${settleMs / 1_000} s later. A proxy changes the ` +
              'playlists on their way.',
          },
        ],
        figures: {
          ...{ starts, slowMs, settleMs, watchMs },
          started: Object.fromEntries([...started].map(([name, byRate]) => [name, Object.fromEntries(byRate)])),
        },
      };
    } finally {
      for (const close of closers) await close();
    }
  },
};

/** Serves what the platform serves, but with changed media playlists. */
const serveChanged = (httpUrl: string, { change }: PlaylistChange): Promise<LoopbackServer> =>
  serveOnLoopback((request, response) => {
    const path = request.url ?? '/';
    const serve = async () => {
      const answer = await fetch(httpUrl + path);
      const body = Buffer.from(await answer.arrayBuffer());
      const type = answer.headers.get('content-type') ?? 'application/octet-stream';
      const isMedia = body.includes('#EXT-X-MEDIA-SEQUENCE');
      response
        .writeHead(answer.status, { 'content-type': type, 'access-control-allow-origin': '*' })
        .end(isMedia ? change(body.toString(), !path.includes('_HLS_msn')) : body);
    };
    serve().catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });
