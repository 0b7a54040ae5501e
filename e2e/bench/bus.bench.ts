import { randomUUID } from 'node:crypto';
import { connect, type NatsConnection } from '@nats-io/transport-node';
// eslint-disable-next-line @nx/enforce-module-boundaries -- what is measured is the library itself
import { Bus } from '@weir/bus';
// eslint-disable-next-line @nx/enforce-module-boundaries -- what is measured is the library itself
import { Media } from '@weir/contracts';
import type { Benchmark } from './benchmark.js';
import {
  asBytes,
  closeRequest,
  CloseSessionRequestSchema,
  playRequest,
  PlayRequestSchema,
  RAW_SUBJECTS,
} from './bus-messages.js';
import type { BusServerReady } from './bus-server.js';
import { ChildProgram } from './child-program.js';
import { natsServerOf } from './nats-url.js';
import { median, summarize } from './samples.js';
import type { Table } from './table.js';

const IN_FLIGHT = 64;
const TIMEOUT_MS = 5_000;

/** One kind of call by one client. */
interface Caller {
  client: 'libs/bus' | 'raw NATS client';
  message: string;
  call(): Promise<unknown>;
}

interface Measured {
  latenciesMs: number[];
  callsPerS: number[];
}

export const bus: Benchmark = {
  name: 'bus',
  async run({ platform, short, log }) {
    const { rounds, calls, windowMs } = short
      ? { rounds: 1, calls: 50, windowMs: 200 }
      : { rounds: 10, calls: 500, windowMs: 2_000 };
    const server = await ChildProgram.start<BusServerReady>('bus-server', [platform.natsUrl]);
    const client = await Bus.connect({
      url: platform.natsUrl,
      service: 'bench',
      instanceId: `bench-${randomUUID()}`,
    });
    const nats = await connect(natsServerOf(platform.natsUrl));
    try {
      const callers = callersOf(client, nats, server.ready.instanceId);
      for (const { call } of callers) for (let count = 0; count < calls; count++) await call(); // warms up the code
      const measured = new Map<Caller, Measured>(callers.map((caller) => [caller, { latenciesMs: [], callsPerS: [] }]));
      for (let round = 0; round < rounds; round++) {
        for (const [caller, { latenciesMs, callsPerS }] of round % 2 === 0 ? measured : [...measured].toReversed()) {
          latenciesMs.push(...(await oneByOne(caller, calls)));
          callsPerS.push(await manyAtOnce(caller, windowMs));
        }
        log(`round ${round + 1} of ${rounds}`);
      }
      return {
        tables: [results(measured)],
        figures: {
          rounds,
          inFlight: IN_FLIGHT,
          measured: [...measured].map(([{ client: by, message }, { latenciesMs, callsPerS }]) => ({
            client: by,
            message,
            latencyMs: summarize(latenciesMs),
            callsPerS,
          })),
        },
      };
    } finally {
      await nats.close();
      await client.drain({ graceMs: 0 });
      await server.stop();
    }
  },
};

/** For each size of message, both clients are measured one after the other. */
function callersOf(client: Bus, nats: NatsConnection, nodeId: string): Caller[] {
  const close = closeRequest(nodeId);
  const play = playRequest(nodeId);
  const closeBytes = asBytes(CloseSessionRequestSchema, close);
  const playBytes = asBytes(PlayRequestSchema, play);
  const size = (bytes: Uint8Array) => `${bytes.length.toLocaleString('en-US')} bytes`;
  const raw = (subject: string, bytes: Uint8Array) => () => nats.request(subject, bytes, { timeout: TIMEOUT_MS });
  return [
    { client: 'libs/bus', message: size(closeBytes), call: () => client.call(Media.method.closeSession, close) },
    { client: 'raw NATS client', message: size(closeBytes), call: raw(RAW_SUBJECTS.close, closeBytes) },
    { client: 'libs/bus', message: size(playBytes), call: () => client.call(Media.method.play, play) },
    { client: 'raw NATS client', message: size(playBytes), call: raw(RAW_SUBJECTS.play, playBytes) },
  ];
}

async function oneByOne({ call }: Caller, calls: number): Promise<number[]> {
  const latenciesMs: number[] = [];
  for (let count = 0; count < calls; count++) {
    const startedMs = performance.now();
    await call();
    latenciesMs.push(performance.now() - startedMs);
  }
  return latenciesMs;
}

/** @returns calls per second */
async function manyAtOnce({ call }: Caller, windowMs: number): Promise<number> {
  const startedMs = performance.now();
  let calls = 0;
  const callOn = async () => {
    while (performance.now() - startedMs < windowMs) {
      await call();
      calls += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, callOn));
  return (calls * 1_000) / (performance.now() - startedMs);
}

function results(measured: ReadonlyMap<Caller, Measured>): Table {
  return {
    title: 'Calls over NATS, from one process to another',
    columns: [
      '',
      'calls',
      'p50 ms',
      'p99 ms',
      'p50 / baseline',
      `calls/s, ${IN_FLIGHT} at a time`,
      'calls/s / baseline',
    ],
    rows: [...measured].map(([{ client, message }, { latenciesMs, callsPerS }]) => {
      const baseline = [...measured].find(([other]) => other.message === message && other.client !== 'libs/bus')?.[1];
      const { count, p50, p99 } = summarize(latenciesMs);
      return [
        `${client}, request of ${message}`,
        count,
        p50,
        p99,
        p50 / median(baseline?.latenciesMs ?? []),
        Math.round(median(callsPerS)),
        median(callsPerS) / median(baseline?.callsPerS ?? []),
      ];
    }),
  };
}
