import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import { addressOf, RawClient } from './raw-client.js';
import type { SeededRandom } from './seeded-random.js';
import type { Series, SeriesContext, SeriesResult } from './series.js';
import { VISIT_COLUMNS, visitCells, Visitors, type Visits } from './visitors.js';
import { WatchedProcesses } from './watched-processes.js';

/** How many connections one address may have: `WEIR_RTSP_CONNECTIONS_PER_ADDRESS`. */
const PER_ADDRESS = 256;
/** Unread answers may take up to 64 KiB per connection; a busy process grows by the rest. */
const MAX_GROWTH_MIB = 120;
/** Longer than a client may be silent. */
const CLOSED_WITHIN_MS = 40_000;
const ANSWER_TIMEOUT_MS = 20_000;
const MAX_MESSAGE_BYTES = 64 * 1024;

/** RTSP connections from one address that don't read, say nothing, or never finish a message. */
export const rtsp: Series = {
  name: 'rtsp',
  trials: { full: 5, short: 2 },
  async run({ platform, short, trials, random, log }: SeriesContext): Promise<SeriesResult> {
    const [count, windowMs] = short ? [PER_ADDRESS + 44, 1_500] : [4_200, 5_000];
    const port = Number(new URL(platform.rtspUrl).port);
    const rows: (string | number)[][] = [];
    const broken: string[] = [];
    for (let trial = 1; trial <= trials; trial += 1) {
      const kind = KINDS[(trial - 1 + random.below(KINDS.length)) % KINDS.length] ?? KINDS[0];
      log(`${count} connections: ${kind.name}`);
      const processes = await WatchedProcesses.of(platform, ['media']);
      const visitor = addressOf(random);
      const others = new Visitors({
        httpUrl: platform.httpUrl,
        address: visitor,
        paths: ['/rest-api/stream/find_all'],
        headers: { authorization: `Bearer ${platform.operatorKey}` },
      });
      const note = async (what: string, watching: Promise<Visits>): Promise<number> => {
        const rtspMs = await optionsMs(port, visitor);
        const visits = await watching;
        const [mib = 0] = processes.peaksMib();
        rows.push([`${kind.name}, ${what}`, ...visitCells(visits), rtspMs ?? NaN, mib]);
        if (visits.failed > 0) broken.push(`${visits.failed} requests of other clients got no answer, ${what}`);
        if (rtspMs === undefined) broken.push(`another RTSP client got no answer in ${ANSWER_TIMEOUT_MS} ms, ${what}`);
        return mib;
      };
      try {
        const quietMib = await note('quiet', others.watch(windowMs));
        const attackers = await RawClient.openMany(count, { port, address: addressOf(random) });
        await waitFor(() => attackers.filter(({ dropped }) => !dropped).length <= PER_ADDRESS, {
          timeoutMs: 20_000,
          what: `the end of the connections beyond the ${PER_ADDRESS} that one address may have`,
        }).catch((error: unknown) => broken.push(String(error)));
        const admitted = attackers.filter(({ dropped }) => !dropped);
        if (admitted.length === 0) broken.push('no connection was accepted, so nothing was attacked');
        const watching = others.watch(windowMs);
        const endsAtMs = performance.now() + windowMs;
        do {
          for (const attacker of admitted) kind.go(attacker, random);
          await delay(50);
        } while (kind.goesOn && performance.now() < endsAtMs);
        const attackedMib = await note('under attack', watching);
        if (attackedMib - quietMib > MAX_GROWTH_MIB)
          broken.push(`media grew by ${Math.round(attackedMib - quietMib)} MiB: ${kind.name}`);
        for (const attacker of admitted) attacker.socket.resume();
        if (!short)
          await waitFor(() => admitted.every(({ dropped }) => dropped), {
            timeoutMs: CLOSED_WITHIN_MS,
            intervalMs: 200,
          }).catch(() => {
            const open = admitted.filter(({ dropped }) => !dropped).length;
            broken.push(`${open} connections were still open after ${CLOSED_WITHIN_MS} ms: ${kind.name}`);
          });
        for (const attacker of attackers) attacker.breakOff(random.pick(['reset', 'end', 'destroy']));
        await note('aborted', others.watch(windowMs));
        for (const attacker of attackers) attacker.breakOff('destroy');
        broken.push(...(await processes.ended()));
      } finally {
        processes.close();
      }
    }
    return {
      tables: [
        {
          title: `${count} RTSP connections from one address`,
          columns: ['other clients during', ...VISIT_COLUMNS, 'RTSP ms', 'media MiB'],
          rows,
          note: 'Other clients ask for the list of streams, and one uses RTSP. The memory is the peak of media during that time.',
        },
      ],
      broken,
    };
  },
};

interface Kind {
  name: string;
  /** Whether it is repeated as long as the attack lasts. */
  goesOn: boolean;
  go(client: RawClient, random: SeededRandom): void;
}

const QUESTION = 'OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n';

const KINDS: readonly [Kind, ...Kind[]] = [
  {
    name: 'answers that nobody reads',
    goesOn: true,
    go: (client) => {
      client.socket.pause();
      if (client.socket.writableLength === 0) client.send(QUESTION.repeat(1_000));
    },
  },
  {
    name: 'refusals that nobody reads',
    goesOn: true,
    go: (client) => {
      client.socket.pause();
      const question = 'DESCRIBE rtsp://localhost/demo/nothing RTSP/1.0\r\nCSeq: 1\r\n\r\n';
      if (client.socket.writableLength === 0) client.send(question.repeat(200));
    },
  },
  { name: 'silence', goesOn: false, go: () => undefined },
  {
    name: 'endless requests',
    goesOn: false,
    go: (client, random) => client.send(`OPTIONS * RTSP/1.0\r\nX: ${'x'.repeat(random.below(MAX_MESSAGE_BYTES))}`),
  },
  {
    name: 'bodies without their last byte',
    goesOn: false,
    go: (client) => {
      const request = 'ANNOUNCE rtsp://localhost/demo/x RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\n';
      client.send(`${request}Content-Length: ${MAX_MESSAGE_BYTES}\r\n\r\n${'v'.repeat(MAX_MESSAGE_BYTES - 1)}`);
    },
  },
];

/** How long another client waits for an RTSP answer; undefined if none comes. */
async function optionsMs(port: number, address: string): Promise<number | undefined> {
  const startedMs = performance.now();
  const client = await RawClient.open({ port, address });
  client.send(QUESTION);
  try {
    await waitFor(() => client.received.startsWith('RTSP/1.0 200'), { timeoutMs: ANSWER_TIMEOUT_MS, intervalMs: 5 });
    return performance.now() - startedMs;
  } catch {
    return undefined; // the caller reports it
  } finally {
    client.breakOff('destroy');
  }
}
