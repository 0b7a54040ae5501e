import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import type { BrowserContext, Page } from 'playwright-core';
import { startBrowser } from '../src/browser.js';
import { SdkPage } from '../src/sdk-page.js';
import { startSite } from '../src/site.js';
import type { Benchmark } from './benchmark.js';
import { ChildProgram } from './child-program.js';
import { agesOf, driftMsPerMin, takeReadings, watchClock, type ClockReading } from './clock-watch.js';
import { logIn } from './demo-user.js';
import { serveFolder } from './file-server.js';
import { playByHlsJs, slowDown } from './hls-js-page.js';
import type { BenchPlatform } from './platform.js';
import { RtmpServer } from './rtmp-server.js';
import { RtspPushes } from './rtsp-pushes.js';
import { quantile } from './samples.js';
import type { Table } from './table.js';

const STREAM = 'bench-clock';
/** The shortest segment of ordinary HLS: one GOP. */
const SEGMENT_S = 1;
const TAKE_INTERVAL_MS = 10_000;
/** How many times slower the pages' processor is in the second table, from before they open. */
const SLOWED_DOWN = 6;
const SLOWED_DOWN_SHORT = 2;
/** A picture that stays on the screen for longer than this counts as a stall; a new picture is due every 33 ms. */
const STALL_MS = 150;
const START_TIMEOUT_MS = 120_000;
const START_INTERVAL_MS = 250;

interface Way {
  name: string;
  /** Begins to play; the page's video is at the selector. */
  open(context: BrowserContext): Promise<{ page: Page; video: string }>;
}

interface Watched {
  p50Ms: number;
  p95Ms: number;
  maxMs: number;
  driftMsPerMin: number;
  stalls: number;
  samples: number;
  unreadable: number;
  /** The median of each tenth of the run. */
  tenthsMs: number[];
}

export const glassToGlass: Benchmark = {
  name: 'glass-to-glass',
  async run({ platform, short, log }) {
    const settleMs = short ? 1_000 : 30_000;
    const runMs = short ? 4_000 : 600_000;
    const slowedDown = short ? SLOWED_DOWN_SHORT : SLOWED_DOWN;
    if (!short && !RtmpServer.isInstalled())
      throw new Error('nginx or its RTMP module is missing: install nginx-light and libnginx-mod-rtmp');
    const closers: (() => Promise<unknown>)[] = [];
    const opened = <Opened>(what: Opened, close: (what: Opened) => Promise<unknown>): Opened => {
      closers.unshift(() => close(what));
      return what;
    };
    try {
      const folder = opened(await mkdtemp(join(tmpdir(), 'weir-bench-clock-')), (path) =>
        rm(path, { recursive: true, force: true }),
      );
      await mkdir(join(folder, 'ffmpeg'));
      const site = opened(await startSite(), (one) => one.close());
      const files = opened(await serveFolder(join(folder, 'ffmpeg')), (one) => one.close());
      const rtmp = short
        ? undefined
        : opened(await RtmpServer.start(join(folder, 'nginx'), SEGMENT_S), (one) => one.stop());
      const pushes = opened(await RtspPushes.connect(platform), (one) => one.close());
      const token = await logIn(platform);
      const hlsUrl = `${platform.httpUrl}/videos/~/${STREAM}/index.m3u8?token=${encodeURIComponent(token)}`;
      opened(
        await ChildProgram.start('clock-source', [
          `[f=rtsp:rtsp_transport=tcp]${await pushes.expect(STREAM)}`,
          `[f=hls:hls_time=${SEGMENT_S}:hls_list_size=6:hls_flags=delete_segments]${join(folder, 'ffmpeg/index.m3u8')}`,
          ...(rtmp === undefined ? [] : [`[f=flv]${rtmp.pushUrl(STREAM)}`]),
        ]),
        (one) => one.stop(),
      );
      const ways: Way[] = [
        { name: 'weir, WebRTC in the WebSDK', open: (context) => playBySdk(context, site.url, platform) },
        { name: "weir, LL-HLS in weir's page", open: (context) => playInPage(context, platform, token) },
        { name: 'weir, LL-HLS in hls.js', open: (context) => playByHlsJs(context, site.url, hlsUrl) },
        ...(rtmp === undefined ? [] : [hlsBaseline('nginx-rtmp, HLS in hls.js', site.url, rtmp.playlistUrl(STREAM))]),
        hlsBaseline('ffmpeg, HLS in hls.js', site.url, `${files.url}/index.m3u8`),
      ];
      const atSpeed = await watchWays(ways, { settleMs, runMs, slowedDown: 1, log });
      const slowed = await watchWays(ways, { settleMs, runMs, slowedDown, log });
      const note = short ? ' The short form leaves nginx out.' : '';
      return {
        tables: [
          latencies('From the camera to the screen: the age of the picture that is seen, ms', atSpeed, runMs, note),
          latencies(
            `The same in a browser whose pages run ${slowedDown} times slower`,
            slowed,
            runMs,
            ` Chromium throttles the processor from before the pages open: a slow start and a busy client.${note}`,
          ),
        ],
        figures: {
          ...{ runMs, settleMs, segmentS: SEGMENT_S, slowedDown },
          ...{ watched: Object.fromEntries(atSpeed), watchedSlowed: Object.fromEntries(slowed) },
        },
      };
    } finally {
      for (const close of closers) await close();
    }
  },
};

interface Watching {
  settleMs: number;
  runMs: number;
  slowedDown: number;
  log: (line: string) => void;
}

/** Watches all ways at the same time, in a new browser. */
async function watchWays(ways: readonly Way[], { settleMs, runMs, slowedDown, log }: Watching) {
  const browser = await startBrowser();
  try {
    const context = await browser.newContext({ viewport: { width: 700, height: 420 } });
    if (slowedDown > 1) {
      context.on('page', (page) => {
        slowDown(context, page, slowedDown).catch((error: unknown) =>
          log(`a page could not be slowed down: ${String(error)}`),
        );
      });
    }
    const pages = new Map<string, Page>();
    for (const way of ways) {
      const { page, video } = await way.open(context);
      await watchClock(page, video);
      const isPlaying = await untilReadable(page);
      if (!isPlaying && slowedDown === 1) throw new Error(`${way.name} shows no picture with a clock`);
      pages.set(way.name, page);
      log(`${way.name}: ${isPlaying ? 'playing' : 'no picture yet'}`);
    }
    await sleep(settleMs);
    for (const page of pages.values()) await takeReadings(page);
    const readings = await watchAll(pages, runMs, log);
    return new Map([...readings].map(([name, all]) => [name, summaryOf(all)]));
  } finally {
    await browser.close();
  }
}

const hlsBaseline = (name: string, siteUrl: string, url: string): Way => ({
  name,
  open: async (context) => {
    // Its first segments must exist.
    await waitFor(async () => ((await (await fetch(url)).text()).match(/#EXTINF/g)?.length ?? 0) >= 3, {
      timeoutMs: 30_000,
      what: `the playlist of ${name}`,
    });
    return playByHlsJs(context, siteUrl, url);
  },
});

async function playBySdk(context: BrowserContext, siteUrl: string, { httpUrl }: BenchPlatform) {
  const { page } = await waitFor(
    async () => {
      const sdk = await SdkPage.open(context, siteUrl);
      try {
        await sdk.connect(httpUrl.replace('http:', 'ws:'));
        await sdk.play('in', { name: STREAM });
        await sdk.waitForEvent('in', 'PLAYING', 5_000);
        return sdk;
      } catch (error) {
        await sdk.close(); // the stream may not have begun yet
        throw error;
      }
    },
    { timeoutMs: 30_000, what: 'the WebSDK to play' },
  );
  return { page, video: '#remote video' };
}

async function playInPage(context: BrowserContext, { httpUrl }: BenchPlatform, token: string) {
  const page = await context.newPage();
  await page.goto(`${httpUrl}/watch.html`);
  await page.fill('#watch [name=name]', `${STREAM}`);
  await page.fill('#who [name=token]', token);
  await page.click('#watch [data-action=start]');
  return { page, video: '#watch video' };
}

/** False if the page shows no picture with a readable clock within the time. A busy browser may show none at all. */
async function untilReadable(page: Page): Promise<boolean> {
  const endMs = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < endMs) {
    if ((await takeReadings(page)).some(({ clock }) => clock !== undefined)) return true;
    await sleep(START_INTERVAL_MS);
  }
  return false;
}

async function watchAll(pages: ReadonlyMap<string, Page>, runMs: number, log: (line: string) => void) {
  const readings = new Map<string, ClockReading[]>([...pages.keys()].map((name) => [name, []]));
  const endMs = performance.now() + runMs;
  for (let leftMs = runMs; leftMs > 0; leftMs = endMs - performance.now()) {
    await sleep(Math.min(leftMs, TAKE_INTERVAL_MS));
    const now: string[] = [];
    for (const [name, page] of pages) {
      const taken = await takeReadings(page);
      readings.get(name)?.push(...taken);
      const ages = agesOf(taken).samples.map(({ ageMs }) => ageMs);
      now.push(ages.length === 0 ? '-' : quantile(ages, 0.5).toFixed(0));
    }
    log(`${((runMs - leftMs) / 1_000).toFixed(0)} s: ${now.join(', ')} ms`);
  }
  return readings;
}

function summaryOf(readings: readonly ClockReading[]): Watched {
  const { samples, unreadable } = agesOf(readings);
  const ages = samples.map(({ ageMs }) => ageMs);
  const ageMs = (share: number) => (ages.length === 0 ? NaN : quantile(ages, share));
  const firstMs = samples[0]?.atMs ?? 0;
  const spanMs = (samples.at(-1)?.atMs ?? 0) - firstMs + 1;
  const tenths = Array.from({ length: 10 }, (_tenth, index) =>
    samples.filter(({ atMs }) => Math.floor(((atMs - firstMs) * 10) / spanMs) === index).map(({ ageMs }) => ageMs),
  );
  return {
    p50Ms: ageMs(0.5),
    p95Ms: ageMs(0.95),
    maxMs: ageMs(1),
    driftMsPerMin: driftMsPerMin(samples),
    stalls: stallsIn(readings),
    samples: samples.length,
    unreadable,
    tenthsMs: tenths.filter((tenth) => tenth.length > 0).map((tenth) => quantile(tenth, 0.5)),
  };
}

/** How often one picture stayed on the screen for too long. */
function stallsIn(readings: readonly ClockReading[]): number {
  let stalls = 0;
  let since: ClockReading | undefined;
  let isStalled = false;
  for (const reading of readings) {
    if (reading.clock !== since?.clock || since === undefined) {
      since = reading;
      isStalled = false;
    } else if (!isStalled && reading.atMs - since.atMs > STALL_MS) {
      stalls += 1;
      isStalled = true;
    }
  }
  return stalls;
}

function latencies(title: string, watched: ReadonlyMap<string, Watched>, runMs: number, more: string): Table {
  return {
    title,
    columns: ['', 'p50', 'p95', 'max', 'drift ms/min', 'first tenth', 'last tenth', 'stalls', 'samples', 'unreadable'],
    rows: [...watched].map(([name, { p50Ms, p95Ms, maxMs, tenthsMs, ...rest }]) => [
      name,
      ...[p50Ms, p95Ms, maxMs].map(Math.round),
      rest.driftMsPerMin,
      Math.round(tenthsMs[0] ?? NaN),
      Math.round(tenthsMs.at(-1) ?? NaN),
      rest.stalls,
      rest.samples,
      rest.unreadable,
    ]),
    note:
      `One H.264 stream, 640 × 360 at 30/s with a GOP of 1 s, encoded once, watched for ${runMs / 1_000} s by all at the ` +
      `same time in one Chromium. Ordinary HLS in segments of ${SEGMENT_S} s. Includes encoding and decoding.${more}`,
  };
}
