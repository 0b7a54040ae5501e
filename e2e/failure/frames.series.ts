import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { addressOf, RawClient } from './raw-client.js';
import type { SeededRandom } from './seeded-random.js';
import type { Series, SeriesContext, SeriesResult } from './series.js';
import { VISIT_COLUMNS, visitCells, Visitors, type Visits } from './visitors.js';
import { WatchedProcesses } from './watched-processes.js';

const MIB = 1024 * 1024;
const HANDSHAKE = [
  'GET / HTTP/1.1',
  'Host: localhost',
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: d2VpcidzIG93biBub25jZQ==',
  '\r\n',
].join('\r\n');
/** The largest message that the service accepts. */
const FRAME_LIMIT_BYTES = 256 * 1024;
/** The frames of one address may take up to 8 MiB; a busy process grows by the rest. */
const MAX_GROWTH_MIB = 120;
/** Longer than a frame may take to arrive. */
const CLOSED_WITHIN_MS = 25_000;

/** WebSockets from one address, none of which finishes the frame that it has begun. */
export const frames: Series = {
  name: 'frames',
  trials: { full: 3, short: 1 },
  async run({ platform, short, trials, random, log }: SeriesContext): Promise<SeriesResult> {
    const [count, windowMs] = short ? [100, 1_500] : [700, 5_000];
    const port = Number(new URL(platform.httpUrl).port);
    const rows: (string | number)[][] = [];
    const broken: string[] = [];
    for (let trial = 1; trial <= trials; trial += 1) {
      const kind = KINDS[(trial - 1 + random.below(KINDS.length)) % KINDS.length] ?? KINDS[0];
      log(`${count} sockets with ${kind.name}`);
      const processes = await WatchedProcesses.of(platform, ['gateway', 'wcs-signalling']);
      const others = new Visitors({
        httpUrl: platform.httpUrl,
        address: addressOf(random),
        paths: ['/rest-api/connection/find_all'],
        headers: { authorization: `Bearer ${platform.operatorKey}` },
      });
      const note = (what: string, visits: Visits): number => {
        const peaks = processes.peaksMib();
        rows.push([`${kind.name}, ${what}`, ...visitCells(visits), ...peaks]);
        if (visits.failed > 0)
          broken.push(`${visits.failed} requests of other clients got no answer from wcs-signalling, ${what}`);
        return Math.max(...peaks);
      };
      try {
        const quietMib = note('quiet', await others.watch(windowMs));
        const attackers = await RawClient.openMany(count, { port, address: addressOf(random) });
        for (const attacker of attackers) attacker.send(HANDSHAKE);
        await waitFor(() => attackers.every(({ statusCode }) => statusCode === 101), {
          timeoutMs: 30_000,
          what: 'the handshakes',
        });
        for (const attacker of attackers) kind.begin(attacker, random);
        await delay(200);
        const attackedMib = note('under attack', await others.watch(windowMs));
        if (attackedMib - quietMib > MAX_GROWTH_MIB)
          broken.push(`a process grew by ${Math.round(attackedMib - quietMib)} MiB under ${kind.name}`);
        if (!short)
          await waitFor(() => attackers.every(({ dropped }) => dropped), {
            timeoutMs: CLOSED_WITHIN_MS,
            intervalMs: 200,
          }).catch(() => {
            const open = attackers.filter(({ dropped }) => !dropped).length;
            broken.push(`${open} of ${count} sockets with ${kind.name} were still open after ${CLOSED_WITHIN_MS} ms`);
          });
        for (const attacker of attackers) attacker.breakOff(random.pick(['reset', 'end', 'destroy']));
        note('aborted', await others.watch(windowMs));
        for (const attacker of attackers) attacker.breakOff('destroy');
        broken.push(...(await processes.ended()));
      } finally {
        processes.close();
      }
    }
    return {
      tables: [
        {
          title: `${count} WebSockets from one address with unfinished frames`,
          columns: ['other clients during', ...VISIT_COLUMNS, 'gateway MiB', 'wcs-signalling MiB'],
          rows,
          note: 'The memory is the peak of each process during that time.',
        },
      ],
      broken,
    };
  },
};

interface Kind {
  name: string;
  begin(client: RawClient, random: SeededRandom): void;
}

const KINDS: readonly [Kind, ...Kind[]] = [
  {
    name: 'frames without their last byte',
    begin: (client) => {
      client.send(frameHeader(FRAME_LIMIT_BYTES));
      client.send(Buffer.alloc(FRAME_LIMIT_BYTES - 1));
    },
  },
  {
    name: 'frames of 1 MiB',
    begin: (client) => {
      client.send(frameHeader(MIB));
      client.send(Buffer.alloc(MIB - 1));
    },
  },
  {
    name: 'endless fragments',
    begin: (client, random) => {
      for (let left = FRAME_LIMIT_BYTES; left > 0; left -= 20_000)
        client.send(
          Buffer.concat([
            frameHeader(1 + random.below(16_000), 0x01 * Number(left === FRAME_LIMIT_BYTES)),
            Buffer.alloc(1),
          ]),
        );
    },
  },
  {
    name: 'half headers',
    begin: (client, random) => client.send(frameHeader(FRAME_LIMIT_BYTES).subarray(0, 1 + random.below(13))),
  },
];

/** The header of a frame that is masked with the mask 0. */
function frameHeader(length: number, firstByte = 0x81): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt16BE((firstByte << 8) | 0xff);
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}
