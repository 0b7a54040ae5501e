import { setTimeout as sleep } from 'node:timers/promises';
import type { BrowserContext } from 'playwright-core';
import { startBrowser } from '../src/browser.js';
import { SdkPage } from '../src/sdk-page.js';
import { startSite } from '../src/site.js';
import type { Benchmark } from './benchmark.js';
import { ChildProgram } from './child-program.js';
import { installJoinMarks, measureJoin, type JoinMarks } from './join-marks.js';
import type { RawMediasoupReady } from './raw-mediasoup.js';
import { median, summarize } from './samples.js';
import type { Table } from './table.js';

const SERVERS = ['weir', 'raw mediasoup'] as const;
type Server = (typeof SERVERS)[number];

const KINDS = {
  publish: 'publish() to PUBLISHING',
  play: 'play() to first decoded frame',
  playSoonAfter: `play() 100 ms after another player's, to first decoded frame`,
} as const;
type Kind = keyof typeof KINDS;
const kinds = Object.keys(KINDS) as Kind[];

const WATCHED = 'bench-watched';
/**
 * Chromium ignores a request for a key frame soon after another one, so players wait in order not to disturb others.
 */
const PAUSE_BEFORE_PLAY_MS = 1_000;
const SOON_MS = 100;

/** The pages of one server. Another page publishes `WATCHED` all the time. */
interface Pages {
  publisher: SdkPage;
  player: SdkPage;
  secondPlayer: SdkPage;
}

type Marks = Record<Server, Record<Kind, JoinMarks[]>>;

export const join: Benchmark = {
  name: 'join',
  async run({ platform, short, log }) {
    const [warmUps, joins] = short ? [1, 3] : [5, 50];
    const site = await startSite();
    const browser = await startBrowser();
    const raw = await ChildProgram.start<RawMediasoupReady>('raw-mediasoup');
    try {
      const context = await browser.newContext();
      await context.addInitScript(installJoinMarks);
      const pages: Record<Server, Pages> = {
        weir: await openPages(context, site.url, platform.httpUrl.replace('http:', 'ws:')),
        'raw mediasoup': await openPages(context, site.url, `ws://127.0.0.1:${raw.ready.port}`),
      };
      const marks: Marks = {
        weir: { publish: [], play: [], playSoonAfter: [] },
        'raw mediasoup': { publish: [], play: [], playSoonAfter: [] },
      };
      for (let round = -warmUps; round < joins; round++) {
        // The second server may find the machine warmer, so the servers take turns.
        for (const server of round % 2 === 0 ? SERVERS : SERVERS.toReversed()) {
          const measured = await measureRound(pages[server], `bench-${round}`);
          if (round >= 0) for (const kind of kinds) marks[server][kind].push(measured[kind]);
        }
        if ((round + 1) % 10 === 0 && round > 0) log(`${round + 1} of ${joins} joins`);
      }
      return { tables: [totals(marks), phases(marks)], figures: { joins, marks, summaries: summaries(marks) } };
    } finally {
      await raw.stop();
      await browser.close();
      await site.close();
    }
  },
};

async function openPages(context: BrowserContext, siteUrl: string, wsUrl: string): Promise<Pages> {
  const connected = async () => {
    const page = await SdkPage.open(context, siteUrl);
    await page.connect(wsUrl);
    return page;
  };
  const watched = await connected();
  await watched.publish('out', { name: WATCHED });
  await watched.waitForEvent('out', 'PUBLISHING');
  return { publisher: await connected(), player: await connected(), secondPlayer: await connected() };
}

async function measureRound(
  { publisher, player, secondPlayer }: Pages,
  name: string,
): Promise<Record<Kind, JoinMarks>> {
  const publish = await measureJoin(publisher.page, 'publish', name);
  await sleep(PAUSE_BEFORE_PLAY_MS);
  const play = await measureJoin(player.page, 'play', WATCHED);
  await sleep(PAUSE_BEFORE_PLAY_MS);
  const [, playSoonAfter] = await Promise.all([
    measureJoin(player.page, 'play', WATCHED),
    sleep(SOON_MS).then(() => measureJoin(secondPlayer.page, 'play', WATCHED)),
  ]);
  return { publish, play, playSoonAfter };
}

const totalMs = (kind: Kind, { told, decoded }: JoinMarks): number => (kind === 'publish' ? told : (decoded ?? NaN));

const summaryOf = (marks: Marks, server: Server, kind: Kind) =>
  summarize(marks[server][kind].map((one) => totalMs(kind, one)));

const summaries = (marks: Marks) =>
  Object.fromEntries(
    kinds.map((kind) => [kind, Object.fromEntries(SERVERS.map((server) => [server, summaryOf(marks, server, kind)]))]),
  );

function totals(marks: Marks): Table {
  return {
    title: 'Join time with the unmodified WebSDK in Chromium, ms',
    columns: ['', 'joins', 'p50', 'p99', 'min', 'max', 'p50 / baseline'],
    rows: kinds.flatMap((kind) =>
      SERVERS.map((server) => {
        const { count, min, p50, p99, max } = summaryOf(marks, server, kind);
        const baseline = summaryOf(marks, 'raw mediasoup', kind);
        return [`${KINDS[kind]}, ${server}`, count, p50, p99, min, max, p50 / baseline.p50];
      }),
    ),
  };
}

/** The median of each phase; together they needn't equal the median of the whole. */
function phases(marks: Marks): Table {
  return {
    title: 'Where the time goes, medians, ms',
    columns: ['', 'offer', 'answer', 'ICE and DTLS', 'status', 'first frame'],
    rows: kinds.flatMap((kind) =>
      SERVERS.map((server) => {
        const middle = (phase: (one: JoinMarks) => number) => median(marks[server][kind].map(phase));
        return [
          `${KINDS[kind]}, ${server}`,
          middle(({ asked }) => asked),
          middle(({ asked, answered }) => answered - asked),
          middle(({ answered, connected }) => connected - answered),
          middle(({ connected, told }) => told - connected),
          kind === 'publish' ? '' : middle(({ connected, decoded }) => (decoded ?? NaN) - connected),
        ];
      }),
    ),
    note: 'Status and first frame both count from the moment at which ICE and DTLS are up in the browser.',
  };
}
