import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '@weir/testing';
import type { Benchmark } from './benchmark.js';
import { ChildProgram } from './child-program.js';
import { CpuWindow } from './process-usage.js';
import type { Carrier, Chain } from './relay-carrier.js';
import { pipe } from './relay-pipe.js';
import { HopReceiver, type Passage } from './relay-receiver.js';
import { WeirRelays } from './relay-weir.js';
import { median, sum, summarize, type Summary } from './samples.js';
import type { Table } from './table.js';

const HOPS = 2;
const PROCESSES = ['relay-push', 'media workers', 'media (Node)', 'others'] as const;

interface Load {
  /** How many streams are relayed once. The first `probes` of them are relayed twice, and their packets are timed. */
  readonly streams: number;
  readonly probes: number;
  /** How long processor time is measured, twice; 0 if the streams are too few to use much of it. */
  readonly cpuMs: number;
}

interface Durations {
  readonly latencyMs: number;
  readonly settleMs: number;
}

/** One measurement of one carrier under one load. Processor times are in milliseconds per second. */
interface Measured {
  readonly load: Load;
  /** While the streams are only published. */
  readonly published: Record<string, number> | undefined;
  /** While each is relayed once. */
  readonly relayed: Record<string, number> | undefined;
  readonly passages: readonly Passage[];
}

/** One stream shows how long a hop takes; many streams show what a hop costs, and how long it takes under load. */
export const relay: Benchmark = {
  name: 'relay',
  async run({ platform, short, log }) {
    const { loads, rounds, durations } = short
      ? {
          loads: [{ streams: 2, probes: 1, cpuMs: 500 }],
          rounds: 1,
          durations: { latencyMs: 1_000, settleMs: 200 },
        }
      : {
          loads: [
            { streams: 1, probes: 1, cpuMs: 0 },
            { streams: 16, probes: 2, cpuMs: 12_000 },
          ],
          rounds: 3,
          durations: { latencyMs: 10_000, settleMs: 2_000 },
        };
    const weir = await WeirRelays.connect(platform);
    try {
      const carriers = [weir.carrier('push'), weir.carrier('pull'), pipe({ srtp: true }), pipe({ srtp: false })];
      const measured = new Map<string, Measured[]>(carriers.map(({ name }) => [name, []]));
      for (let round = 0; round < rounds; round += 1)
        for (const carrier of round % 2 === 0 ? carriers : carriers.toReversed()) {
          for (const load of loads) measured.get(carrier.name)?.push(await measure(carrier, load, durations));
          log(`round ${round + 1} of ${rounds}: ${carrier.name} measured`);
        }
      return {
        tables: [latencies(measured), costs(measured)],
        figures: {
          durations,
          measured: Object.fromEntries([...measured].map(([name, all]) => [name, all.map(summarized)])),
        },
      };
    } finally {
      await weir.close();
    }
  },
};

async function measure(carrier: Carrier, load: Load, durations: Durations): Promise<Measured> {
  const receivers = await Promise.all(Array.from({ length: load.probes }, () => HopReceiver.open(HOPS + 1)));
  const chain = await carrier.open(load.streams);
  try {
    const source = await ChildProgram.start('relay-source', [JSON.stringify(chain.feeds)]);
    try {
      await sleep(durations.settleMs);
      const published = await cpuOf(chain, load.cpuMs);
      await chain.carry(load.streams);
      await sleep(durations.settleMs);
      const relayed = await cpuOf(chain, load.cpuMs);
      await chain.carry(load.probes);
      for (const [index, receiver] of receivers.entries())
        for (let hops = 0; hops <= HOPS; hops += 1) await chain.tap(index, hops, receiver.addressAfter(hops));
      await untilReceived(receivers);
      await sleep(durations.settleMs);
      const passages = await Promise.all(receivers.map((receiver) => receiver.watch(durations.latencyMs)));
      return { load, published, relayed, passages };
    } finally {
      await source.stop();
    }
  } finally {
    await chain.close();
    for (const receiver of receivers) receiver.close();
  }
}

async function untilReceived(receivers: readonly HopReceiver[]): Promise<void> {
  for (const receiver of receivers) receiver.begin();
  await waitFor(() => receivers.every(({ hasAll }) => hasAll), { timeoutMs: 20_000, what: 'RTP behind every hop' });
}

async function cpuOf({ clocks }: Chain, windowMs: number): Promise<Record<string, number> | undefined> {
  if (windowMs === 0) return undefined;
  const window = new CpuWindow(clocks);
  await sleep(windowMs);
  return window.end().msPerS;
}

interface Latencies {
  readonly atSource: Summary;
  readonly added: readonly Summary[];
  readonly missingShare: number;
}

function latenciesOf(passages: readonly Passage[]): Latencies {
  return {
    atSource: summarize(passages.flatMap(({ atSource }) => atSource)),
    added: Array.from({ length: HOPS }, (_, hop) => summarize(passages.flatMap(({ added }) => added[hop] ?? []))),
    missingShare: 1 - sum(passages.map(({ arrived }) => arrived)) / sum(passages.map(({ sent }) => sent)),
  };
}

const summarized = ({ passages, ...rest }: Measured) => ({ ...rest, latencyMs: latenciesOf(passages) });

function latencies(measured: ReadonlyMap<string, readonly Measured[]>): Table {
  return {
    title: 'Latency of RTP packets in ms, of all rounds',
    columns: [
      ...['', 'streams', 'packets', 'missing %', 'source p50', 'p99'],
      ...['1st hop adds p50', 'p99', '2nd hop adds p50', 'p99'],
    ],
    rows: [...measured].flatMap(([name, all]) =>
      [...new Set(all.map(({ load }) => load.streams))].map((streams) => {
        const rounds = all.filter(({ load }) => load.streams === streams);
        const { atSource, added, missingShare } = latenciesOf(rounds.flatMap(({ passages }) => passages));
        const hops = added.flatMap(({ p50, p99 }) => [p50, p99]);
        return [name, streams, atSource.count, missingShare * 100, atSource.p50, atSource.p99, ...hops];
      }),
    ),
    note:
      'Source: from the sender to a receiver at the first server. Each packet is timed at all places with one clock; the ' +
      'difference is what a hop adds. The packets of a picture are sent at the same time.',
  };
}

/** What relaying costs in addition to publishing, for one stream. */
const costOf = ({ load, published, relayed }: Measured, process: string): number =>
  ((relayed?.[process] ?? NaN) - (published?.[process] ?? NaN)) / load.streams;

function costs(measured: ReadonlyMap<string, readonly Measured[]>): Table {
  const most = Math.max(...[...measured.values()].flat().map(({ load }) => load.streams));
  const costsOf = (all: readonly Measured[]) => {
    const rounds = all.filter(({ load }) => load.streams === most);
    return PROCESSES.map((process) => median(rounds.map((round) => costOf(round, process))));
  };
  return {
    title: `Processor time of one more hop for one of ${most} streams of 2 Mbit/s, in ms/s; medians over the rounds`,
    columns: ['', ...PROCESSES, 'all', 'streams a core', 'relay-push: streams a core'],
    rows: [...measured].map(([name, all]) => {
      const each = costsOf(all);
      const [relayPush = NaN] = each;
      return [name, ...each, sum(each), 1_000 / sum(each), relayPush > 0 ? 1_000 / relayPush : NaN];
    }),
    note:
      '1000 ms/s is one core. The time used while each stream is relayed once, minus that used while it is only published. ' +
      'Both ends of a relay are on this machine, so the other server’s ingest is included, as is the far router of a pipe.',
  };
}
