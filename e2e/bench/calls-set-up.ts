import { setTimeout as sleep } from 'node:timers/promises';
import { startBrowser } from '../src/browser.js';
import { openDevicePage } from '../src/call-page.js';
import { startSite } from '../src/site.js';
import type { BenchmarkContext, BenchmarkResult } from './benchmark.js';
import { CallApp } from './call-app.js';
import { measureCall, type CallMarks, type CallPages } from './call-marks.js';
import { ChildProgram } from './child-program.js';
import { installJoinMarks } from './join-marks.js';
import type { RawCallsReady } from './raw-calls.js';
import { median, summarize } from './samples.js';
import type { Table } from './table.js';

const SERVERS = ['weir', 'raw mediasoup'] as const;
type Server = (typeof SERVERS)[number];

const ENDS = {
  both: 'both sides',
  opener: 'the side that opens',
  opened: 'the side whose URL is opened',
} as const;
const ends = Object.keys(ENDS) as (keyof typeof ENDS)[];

/** Until everything of the call before is gone, on either server. */
const PAUSE_MS = 1_000;

/** From `open()` to the first decoded picture. */
export const callsSetUp = async ({ platform, short, log }: BenchmarkContext): Promise<BenchmarkResult> => {
  const [warmUps, calls] = short ? [1, 3] : [5, 100];
  const app = await CallApp.create(platform, 2);
  const site = await startSite();
  const browser = await startBrowser();
  const raw = await ChildProgram.start<RawCallsReady>('raw-calls');
  try {
    const context = await browser.newContext();
    await context.addInitScript(installJoinMarks);
    const rawUrl = `http://127.0.0.1:${raw.ready.port}`;
    const device = (serverUrl: string, token: string) =>
      openDevicePage(context, { pageUrl: site.url, serverUrl, token, colour: '#336699', toneHz: 440 });
    const pages: Record<Server, CallPages> = {
      weir: {
        opener: await device(platform.httpUrl, app.tokenOf(0)),
        opened: await device(platform.httpUrl, app.tokenOf(1)),
        url: app.callUrlOf(1),
      },
      'raw mediasoup': { opener: await device(rawUrl, '1'), opened: await device(rawUrl, '2'), url: '2' },
    };
    const marks: Record<Server, CallMarks[]> = { weir: [], 'raw mediasoup': [] };
    for (let round = -warmUps; round < calls; round++) {
      // The second server may find the machine warmer, so the servers take turns.
      for (const server of round % 2 === 0 ? SERVERS : SERVERS.toReversed()) {
        await sleep(PAUSE_MS);
        const measured = await measureCall(pages[server]);
        if (round >= 0) marks[server].push(measured);
      }
      if ((round + 1) % 25 === 0 && round > 0) log(`${round + 1} of ${calls} calls`);
    }
    return { tables: [totals(marks), phases(marks)], figures: { calls, marks } };
  } finally {
    await raw.stop();
    await browser.close();
    await site.close();
    await app.remove();
  }
};

const decodedMs = ({ opener, opened }: CallMarks, end: keyof typeof ENDS): number => {
  switch (end) {
    case 'both':
      return Math.max(opener.decoded, opened.decoded);
    case 'opener':
      return opener.decoded;
    case 'opened':
      return opened.decoded;
    default:
      return end satisfies never;
  }
};

type Marks = Readonly<Record<Server, readonly CallMarks[]>>;

function totals(marks: Marks): Table {
  const summaryOf = (server: Server, end: keyof typeof ENDS) =>
    summarize(marks[server].map((one) => decodedMs(one, end)));
  return {
    title: 'From open() to the first decoded picture in Chromium, ms',
    columns: ['', 'calls', 'p50', 'p99', 'min', 'max', 'p50 / baseline', 'p99 / baseline'],
    rows: ends.flatMap((end) =>
      SERVERS.map((server) => {
        const { count, min, p50, p99, max } = summaryOf(server, end);
        const baseline = summaryOf('raw mediasoup', end);
        return [`${ENDS[end]}, ${server}`, count, p50, p99, min, max, p50 / baseline.p50, p99 / baseline.p99];
      }),
    ),
    note: 'Both devices are connected before. The pictures come from a canvas with 25 a second.',
  };
}

/** The median of each phase; together they needn't equal the median of the whole. */
function phases(marks: Marks): Table {
  return {
    title: 'Where the time goes, medians, ms',
    columns: ['', 'offer', 'opened', 'other offer', 'joined', 'ICE and DTLS', 'picture there', 'picture here'],
    rows: SERVERS.map((server) => {
      const middle = (phase: (one: CallMarks) => number) => median(marks[server].map(phase));
      return [
        server,
        middle(({ opener }) => opener.asked),
        middle(({ opener }) => opener.answered - opener.asked),
        middle(({ opener, opened }) => opened.asked - opener.answered),
        middle(({ opened }) => opened.answered - opened.asked),
        middle(({ opened }) => opened.connected - opened.answered),
        middle(({ opened }) => opened.decoded - opened.connected),
        middle(({ opener, opened }) => opener.decoded - opened.connected),
      ];
    }),
    note: 'Both pictures count from the moment at which ICE and DTLS are up on the side whose URL is opened: there, and at the side that opens.',
  };
}
