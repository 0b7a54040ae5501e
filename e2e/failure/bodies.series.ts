import { setTimeout as delay } from 'node:timers/promises';
import type { ProcessName } from '@weir/single-machine';
import { addressOf, RawClient } from './raw-client.js';
import type { SeededRandom } from './seeded-random.js';
import type { Series, SeriesContext, SeriesResult } from './series.js';
import { VISIT_COLUMNS, visitCells, Visitors, type Visits } from './visitors.js';
import { WatchedProcesses } from './watched-processes.js';

interface Victim {
  service: ProcessName;
  /** A path that accepts a body. */
  post: string;
  /** The path that other clients request from the same service. */
  get: string;
}

const VICTIMS: readonly [Victim, ...Victim[]] = [
  { service: 'wcs-signalling', post: '/rest-api/stream/find_all', get: '/rest-api/stream/find_all' },
  { service: 'hls-packager', post: '/stream/', get: '/stream/' },
  { service: 'relay-push', post: '/rest-api/pull/push', get: '/rest-api/pull/find_all' },
  { service: 'robot-channel', post: '/channel/robots', get: '/channel/robots' },
  { service: 'auth', post: '/auth/', get: '/.well-known/jwks.json' },
];
const BREAK_OFFS = ['reset', 'end', 'destroy'] as const;
const MAX_BODY_BYTES = 4_096;
/** Other clients may not wait longer than this. A place taken by an unfinished body would cost them seconds. */
const MAX_WAIT_MS = 2_000;

/** Unfinished bodies from one address for one service, which are then aborted all at once. */
export const bodies: Series = {
  name: 'bodies',
  trials: { full: 5, short: 1 },
  async run({ platform, short, trials, random, log }: SeriesContext): Promise<SeriesResult> {
    const [count, windowMs] = short ? [330, 1_500] : [330, 5_000];
    const port = Number(new URL(platform.httpUrl).port);
    const rows: (string | number)[][] = [];
    const broken: string[] = [];
    const first = random.below(VICTIMS.length);
    for (let trial = 1; trial <= trials; trial += 1) {
      const victim = VICTIMS[(first + trial) % VICTIMS.length] ?? VICTIMS[0];
      log(`${count} unfinished bodies for ${victim.service}`);
      const processes = await WatchedProcesses.of(platform, ['gateway', victim.service]);
      const others = new Visitors({
        httpUrl: platform.httpUrl,
        address: addressOf(random),
        paths: [victim.get],
        headers: { authorization: `Bearer ${platform.operatorKey}` },
      });
      const note = (what: string, visits: Visits) => {
        rows.push([`${victim.service}, ${what}`, ...visitCells(visits), ...processes.peaksMib()]);
        if (visits.failed > 0)
          broken.push(`${visits.failed} requests of other clients got no answer from ${victim.service}, ${what}`);
        if (!short && visits.maxMs > MAX_WAIT_MS)
          broken.push(`other clients waited ${Math.round(visits.maxMs)} ms, ${what}`);
      };
      try {
        note('quiet', await others.watch(windowMs));
        const attackers = await RawClient.openMany(count, { port, address: addressOf(random) });
        for (const attacker of attackers) attacker.send(unfinished(victim.post, random));
        await delay(200);
        note('unfinished bodies', await others.watch(windowMs));
        for (const attacker of attackers) attacker.breakOff(random.pick(BREAK_OFFS));
        note('bodies aborted', await others.watch(windowMs));
        for (const attacker of attackers) attacker.breakOff('destroy');
        broken.push(...(await processes.ended()));
      } finally {
        processes.close();
      }
    }
    return {
      tables: [
        {
          title: `${count} unfinished POST bodies from one address`,
          columns: ['other clients of', ...VISIT_COLUMNS, 'gateway MiB', 'service MiB'],
          rows,
          note: 'The memory is the peak of each process during that time.',
        },
      ],
      broken,
    };
  },
};

/** The headers and a random part of the body: at most all but the last byte. */
function unfinished(path: string, random: SeededRandom): string {
  const length = 2 + random.below(MAX_BODY_BYTES);
  const sent = random.below(length - 1);
  const head = `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
  return random.next() < 0.5
    ? `${head}Content-Length: ${length}\r\n\r\n${'{'.repeat(sent)}`
    : `${head}Transfer-Encoding: chunked\r\n\r\n${length.toString(16)}\r\n${'{'.repeat(sent)}`;
}
