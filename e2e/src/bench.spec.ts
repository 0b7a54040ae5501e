import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { driftMsPerMin } from '../bench/clock-watch.js';
import { ageMs, CLOCK_BITS, CLOCK_BLOCK_PIXELS, drawClock, readClock } from '../bench/picture-clock.js';
import { median, quantile, summarize } from '../bench/samples.js';
import { figure, formatTable } from '../bench/table.js';
import { sharedPlatform } from './shared-platform.js';

const record = z.object({
  benchmark: z.string(),
  short: z.literal(true),
  machine: z.object({
    cores: z.number().int().positive(),
    memoryGib: z.number().positive(),
    node: z.string().startsWith('v'),
    chromium: z.string().regex(/^\d/),
    mediasoup: z.string().regex(/^\d/),
    commit: z.string().min(1),
  }),
  tables: z
    .array(z.object({ title: z.string(), columns: z.array(z.string()), rows: z.array(z.array(z.unknown())).min(2) }))
    .min(1),
});
const summary = z.object({ count: z.number(), min: z.number().positive(), p50: z.number(), p99: z.number() });
const perServer = <Value extends z.ZodType>(value: Value) => z.object({ weir: value, 'raw mediasoup': value });

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weir-bench-results-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a benchmark in its short form on the platform of the tests, as `npm run bench` does. */
async function figuresOf(name: string): Promise<unknown> {
  const program = resolve(import.meta.dirname, '../../deploy/single-machine/bench.mjs');
  await promisify(execFile)(process.execPath, [
    program,
    '--short',
    '--out',
    folder,
    '--platform',
    JSON.stringify(sharedPlatform()),
    name,
  ]);
  const text = await readFile(join(folder, `${name}.json`), 'utf8');
  const result = z.object({ figures: z.unknown() }).parse(JSON.parse(text));
  const { benchmark, tables } = record.parse(JSON.parse(text));
  expect(benchmark).toBe(name);
  for (const { columns, rows } of tables) for (const row of rows) expect(row).toHaveLength(columns.length);
  // A figure that isn't finite is null in JSON.
  expect(JSON.stringify(result.figures)).not.toContain('null');
  return result.figures;
}

describe('each benchmark gives complete results in its short form', { timeout: 180_000 }, () => {
  it('bus: calls of two sizes by two clients', async () => {
    const measured = z.array(z.object({ latencyMs: summary, callsPerS: z.array(z.number().positive()).length(1) }));
    const figures = z.object({ measured: measured.length(4) }).parse(await figuresOf('bus'));
    for (const { latencyMs } of figures.measured) expect(latencyMs.count).toBe(50);
  });

  it('join: publishers and players on two servers, with the phases in their order', async () => {
    const marks = z.object({
      asked: z.number().positive(),
      answered: z.number(),
      connected: z.number(),
      told: z.number(),
      decoded: z.number().optional(),
    });
    const three = z.array(marks).length(3);
    const joins = perServer(z.object({ publish: three, play: three, playSoonAfter: three }));
    const figures = z.object({ marks: joins }).parse(await figuresOf('join'));
    for (const { publish, ...plays } of Object.values(figures.marks)) {
      const play = [...plays.play, ...plays.playSoonAfter];
      for (const { asked, answered, connected, told } of [...publish, ...play]) {
        expect(answered).toBeGreaterThan(asked);
        expect(connected).toBeGreaterThan(answered);
        expect(told).toBeGreaterThan(answered);
      }
      for (const { answered, decoded } of play) expect(decoded).toBeGreaterThan(answered);
      for (const { decoded } of publish) expect(decoded).toBeUndefined();
    }
  });

  it('idle-sessions: every session is open and none is lost', async () => {
    const bytes = z.record(z.string(), z.number().positive());
    const round = z.object({
      opening: z.object({ count: z.literal(200), perS: z.number().positive() }),
      rssBytesBefore: bytes,
      rssBytesAfter: bytes,
      idleCpuMsPerS: z.record(z.string(), z.number().nonnegative()),
      lost: z.literal(0),
    });
    const figures = z
      .object({ measured: z.record(z.string(), z.array(round).length(1)) })
      .parse(await figuresOf('idle-sessions'));
    expect(Object.keys(figures.measured)).toEqual([
      'weir: gateway, wcs-signalling',
      'bare ws behind the gateway',
      'wcs-signalling alone',
      'bare ws alone',
    ]);
  });

  it('control-cpu: every player receives packets', async () => {
    const reception = z.object({ bytes: z.number().positive(), packets: z.number().positive() });
    const watched = z.object({
      control: z.record(z.string(), z.number().nonnegative()),
      workers: z.number().nonnegative(),
      received: z.array(reception).length(2),
    });
    const figures = z.object({ watched: perServer(z.array(watched).length(1)) }).parse(await figuresOf('control-cpu'));
    expect(Object.keys(figures.watched.weir[0]?.control ?? {}).toSorted()).toEqual(
      ['auth', 'gateway', 'media', 'nats', 'postgres', 'redis', 'wcs-signalling'].toSorted(),
    );
  });

  it('relay: packets pass through two hops of weir, and through two pipes', async () => {
    const usage = z.object({
      'relay-push': z.number().nonnegative(),
      'media workers': z.number().nonnegative(),
      'media (Node)': z.number().nonnegative(),
      others: z.number().nonnegative(),
    });
    const round = z.object({
      load: z.object({ streams: z.literal(2) }),
      published: usage,
      relayed: usage,
      latencyMs: z.object({
        atSource: summary,
        added: z.array(summary.extend({ min: z.number() })).length(2),
        missingShare: z.number().min(0).max(1),
      }),
    });
    const figures = z
      .object({ measured: z.record(z.string(), z.array(round).length(1)) })
      .parse(await figuresOf('relay'));
    expect(Object.keys(figures.measured)).toEqual([
      ...['weir, push', 'weir, pull', 'mediasoup pipe, SRTP', 'mediasoup pipe'],
    ]);
    // A packet can't leave a relay before it reaches it. A pipe takes only microseconds, so it isn't checked.
    for (const name of ['weir, push', 'weir, pull'])
      for (const { latencyMs } of figures.measured[name] ?? [])
        for (const { p50 } of latencyMs.added) expect(p50).toBeGreaterThan(0);
  });

  it('glass-to-glass: every player shows a readable clock', async () => {
    const watched = z.object({
      p50Ms: z.number().positive(),
      p95Ms: z.number().positive(),
      driftMsPerMin: z.number(),
      samples: z.number().min(5),
      unreadable: z.number(),
    });
    const figures = z.object({ watched: z.record(z.string(), watched) }).parse(await figuresOf('glass-to-glass'));
    // Only the full form compares with nginx, because only that installs it.
    expect(Object.keys(figures.watched)).toEqual([
      'weir, WebRTC in the WebSDK',
      "weir, LL-HLS in weir's page",
      'weir, LL-HLS in hls.js',
      'ffmpeg, HLS in hls.js',
    ]);
    for (const { samples, unreadable } of Object.values(figures.watched)) expect(unreadable).toBeLessThan(samples / 10);
  });

  it('packaging-cpu: every stream is packaged, by weir and by ffmpeg', async () => {
    const used = z.object({
      packaging: z.number().nonnegative(),
      media: z.number().nonnegative(),
      flowing: z.literal(2),
    });
    const figures = z
      .object({ measured: z.record(z.string(), z.array(used).length(1)) })
      .parse(await figuresOf('packaging-cpu'));
    expect(Object.keys(figures.measured)).toEqual([
      'weir: hls-packager',
      'ffmpeg -c copy -f hls, fMP4',
      'ffmpeg -c copy -f hls, MPEG-TS',
    ]);
  });

  it('first-frame: every viewer sees a frame, when the robot begins to push and when it already does', async () => {
    const marks = z.object({
      commanded: z.number().optional(),
      answered: z.number().positive(),
      decoded: z.number().positive(),
    });
    const one = z.array(marks).length(1);
    const viewer = z.object({ cold: one, running: one });
    const series = z.object({
      gopMs: z.literal(1_000),
      measured: z.object({ 'WebRTC, WebSDK': viewer, 'LL-HLS, hls.js': viewer, 'RTSP, ffmpeg': viewer }),
      straightMs: z.array(z.number().positive()).length(1),
    });
    const figures = z.object({ series: z.array(series).length(1) }).parse(await figuresOf('first-frame'));
    for (const { cold, running } of Object.values(figures.series[0]?.measured ?? {})) {
      for (const { answered, decoded } of [...cold, ...running]) expect(decoded).toBeGreaterThan(answered);
      // A robot that already pushes gets no second command.
      for (const { commanded, answered } of cold) expect(commanded).toBeLessThan(answered);
      for (const { commanded } of running) expect(commanded).toBeUndefined();
    }
  });

  it('slow-start: every start of hls.js shows a picture, with the playlist as it is and changed', async () => {
    const starts = z.array(z.object({ firstPictureMs: z.number().positive(), ageMs: z.number().positive() })).length(1);
    const figures = z
      .object({ started: z.record(z.string(), z.record(z.string(), starts)) })
      .parse(await figuresOf('slow-start'));
    expect(Object.keys(figures.started)).toHaveLength(2);
    for (const byRate of Object.values(figures.started)) expect(Object.keys(byRate)).toEqual(['1', '2']);
  });

  it('calls: both sides see a picture, and every device connects, comes again and acknowledges', async () => {
    const cpu = z.record(z.string(), z.number().nonnegative());
    const round = z.object({
      ...{
        openedPerS: z.number().positive(),
        rssBytesBefore: z.number().positive(),
        churnedPerS: z.number().positive(),
      },
      ...{ idleMsPerS: cpu, churnMsPerS: cpu, lost: z.literal(0) },
    });
    const rounds = z.array(round).length(1);
    const loads = z.array(z.array(summary.extend({ count: z.literal(20) })).length(1)).length(2);
    const side = z.object({
      ...{ asked: z.number().positive(), answered: z.number().positive() },
      ...{ connected: z.number().positive(), decoded: z.number().positive() },
    });
    const calls = z.array(z.object({ opener: side, opened: side })).length(3);
    const figures = z.object({
      setUp: z.object({ marks: perServer(calls) }),
      online: z.object({ measured: z.object({ 'call-broker': rounds, 'bare ws': rounds }) }),
      messages: z.object({ measured: z.object({ 'call-broker': loads, 'raw NATS and socket': loads }) }),
    });
    const { setUp } = figures.parse(await figuresOf('calls'));
    for (const { opener, opened } of Object.values(setUp.marks).flat()) {
      expect(opened.asked).toBeGreaterThan(opener.asked);
      for (const { asked, answered, decoded } of [opener, opened]) {
        expect(answered).toBeGreaterThan(asked);
        expect(decoded).toBeGreaterThan(answered);
      }
    }
  });

  it('robots: every robot connects, gets commands, and is seen to come and go', async () => {
    const some = summary.extend({ count: z.literal(10) });
    const bytes = z.record(z.string(), z.number().positive());
    const round = z.object({
      openingMs: summary.extend({ count: z.literal(20) }),
      ...{ commandMs: some, onlineMs: some, offlineMs: some },
      rssBytesBefore: bytes,
      rssBytesAfter: bytes,
      idleCpuMsPerS: z.record(z.string(), z.number().nonnegative()),
      lost: z.literal(0),
    });
    const rounds = z.array(round).length(1);
    const figures = z
      .object({ measured: z.object({ weir: rounds, 'bare ws': rounds }) })
      .parse(await figuresOf('robots'));
    expect(Object.keys(figures.measured.weir[0]?.rssBytesAfter ?? {})).toEqual(['robot-channel', 'gateway']);
  });
});

describe('figures', () => {
  it('a quantile is interpolated between the two samples next to it', () => {
    expect(quantile([40, 10, 30, 20], 0.5)).toBe(25);
    expect(quantile([0, 100], 0.99)).toBeCloseTo(99);
    expect(median([3, 1, 2])).toBe(2);
    expect(summarize([2, 1])).toEqual({ count: 2, min: 1, p50: 1.5, p99: 1.99, max: 2 });
    expect(() => median([])).toThrow('no samples');
  });

  it('a drift is the slope of the line through the samples, per minute', () => {
    const line = (slopeMsPerS: number) =>
      Array.from({ length: 61 }, (_sample, second) => ({
        atMs: 1e12 + second * 1_000,
        ageMs: 500 + second * slopeMsPerS,
      }));
    expect(driftMsPerMin(line(2))).toBeCloseTo(120);
    expect(driftMsPerMin(line(0))).toBe(0);
    expect(driftMsPerMin(line(2).slice(0, 1))).toBe(0);
  });

  it('the clock in a picture is read as it was drawn, and no clock is read from a picture without one', () => {
    const [width, epochMs] = [CLOCK_BITS * CLOCK_BLOCK_PIXELS, 1_795_000_123_456];
    const luma = new Uint8Array(width * CLOCK_BLOCK_PIXELS);
    drawClock(luma, width, epochMs);
    const bitsOf = (row: number) =>
      Array.from(
        { length: CLOCK_BITS },
        (_bit, block) => (luma[row * width + block * CLOCK_BLOCK_PIXELS + CLOCK_BLOCK_PIXELS / 2] ?? 0) > 127,
      );
    const bits = bitsOf(CLOCK_BLOCK_PIXELS - 1);
    expect(bits).toEqual(bitsOf(0));
    expect(ageMs(readClock(bits) ?? NaN, epochMs + 345)).toBe(345);
    expect(readClock(bits.with(5, !bits[5]))).toBeUndefined();
    for (const colour of [false, true]) expect(readClock(bits.map(() => colour))).toBeUndefined();
  });

  it('are shown with three significant digits, in columns as wide as necessary', () => {
    expect([0.012345, 1.2345, 123.45, 1234.5, 5, Number.NaN].map(figure)).toEqual([
      ...['0.0123', '1.23', '123', '1,235', '5', '-'],
    ]);
    expect(
      formatTable({
        title: 'T',
        columns: ['', 'ms'],
        rows: [
          ['one', 1.5],
          ['two', 10_000],
        ],
      }),
    ).toBe(['T', '         ms', '---  ------', 'one    1.50', 'two  10,000'].join('\n'));
  });
});
