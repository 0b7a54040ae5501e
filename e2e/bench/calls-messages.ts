import { connect } from '@nats-io/transport-node';
import type { WebSocket } from 'ws';
import type { BareDevicesReady } from './bare-devices.js';
import type { BenchmarkContext, BenchmarkResult } from './benchmark.js';
import { CallApp } from './call-app.js';
import { ChildProgram } from './child-program.js';
import { DeviceCrowd } from './device-crowd.js';
import { natsServerOf } from './nats-url.js';
import { listenPort } from './process-usage.js';
import { median, summarize, type Summary } from './samples.js';

const SERVERS = ['call-broker', 'raw NATS and socket'] as const;
type Server = (typeof SERVERS)[number];

/** So many pushes are under way at the same time. */
const LOADS = [1, 16] as const;
const MESSAGE = Buffer.from('topvdn://127.0.0.1:80?protocolType=1&token=').toString('base64');
const ANSWER_TIMEOUT_MS = 10_000;

interface Place {
  /** Resolves when the server knows that the device has acknowledged the message. */
  readonly push: (index: number) => Promise<void>;
  stop(): Promise<void>;
}

/** From a push to its acknowledgement by the device. */
export const messagesAcknowledged = async (context: BenchmarkContext): Promise<BenchmarkResult> => {
  const { devices, rounds, samples } = context.short
    ? { devices: 16, rounds: 1, samples: 20 }
    : { devices: 200, rounds: 3, samples: 1_000 };
  const app = await CallApp.create(context.platform, devices);
  const measured: Record<Server, Summary[][]> = {
    'call-broker': LOADS.map(() => []),
    'raw NATS and socket': LOADS.map(() => []),
  };
  try {
    for (let round = 0; round < rounds; round++)
      for (const server of SERVERS) {
        const place = server === 'call-broker' ? await broker(context, app, devices) : await raw(context, devices);
        try {
          for (const [at, load] of LOADS.entries())
            measured[server][at]?.push(await measure(place, devices, samples, load));
        } finally {
          await place.stop();
        }
        context.log(`round ${round + 1} of ${rounds}: messages of ${server} measured`);
      }
  } finally {
    await app.remove();
  }
  return { tables: [table(measured)], figures: { devices, samples, loads: LOADS, measured } };
};

async function measure(place: Place, devices: number, samples: number, load: number): Promise<Summary> {
  const elapsedMs: number[] = [];
  let begun = 0;
  await Promise.all(
    Array.from({ length: load }, async (_, lane) => {
      // Each lane has devices of its own, so a device has one message under way at a time.
      for (let index = lane; begun < samples; index = index + load < devices ? index + load : lane) {
        begun += 1;
        const beganMs = performance.now();
        await place.push(index);
        elapsedMs.push(performance.now() - beganMs);
      }
    }),
  );
  return summarize(elapsedMs);
}

/**
 * The pusher isn't told of the acknowledgement, so the device pings the server after it: requests are answered in their
 * order.
 */
async function broker({ platform }: BenchmarkContext, app: CallApp, devices: number): Promise<Place> {
  const url = `http://127.0.0.1:${listenPort(await platform.pidOf('call-broker'))}`;
  const waiting = new Map<number, () => void>();
  const hear = (index: number, text: string, socket: WebSocket) => {
    const { id, type } = JSON.parse(text) as { id?: string; type?: string };
    if (type === 'pong') waiting.get(index)?.();
    if (id === undefined) return;
    socket.send(JSON.stringify({ type: 'ack', id }));
    socket.send('{"type":"ping"}');
  };
  const crowd = new DeviceCrowd(devices, (index) => url.replace('http:', 'ws:') + app.channelOf(index), hear);
  await crowd.open();
  return {
    push: async (index) => {
      const acknowledged = answer(waiting, index);
      await app.push(url, index, MESSAGE);
      await acknowledged;
    },
    stop: () => crowd.close(),
  };
}

const answer = (waiting: Map<number, () => void>, index: number): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`device ${index} got no message`)), ANSWER_TIMEOUT_MS);
    waiting.set(index, () => {
      clearTimeout(timer);
      waiting.delete(index);
      resolve();
    });
  });

async function raw({ platform }: BenchmarkContext, devices: number): Promise<Place> {
  const program = await ChildProgram.start<BareDevicesReady>('bare-devices', [platform.natsUrl]);
  const nats = await connect(natsServerOf(platform.natsUrl));
  const crowd = new DeviceCrowd(
    devices,
    (index) => `ws://127.0.0.1:${program.ready.port}/?cid=${index}`,
    (_index, text, socket) => socket.send(JSON.stringify({ type: 'ack', id: (JSON.parse(text) as { id: string }).id })),
  );
  await crowd.open();
  return {
    push: async (index) => {
      const request = JSON.stringify({ cid: index, msg: MESSAGE });
      await nats.request(program.ready.subject, request, { timeout: ANSWER_TIMEOUT_MS });
    },
    stop: async () => {
      await crowd.close();
      await nats.close();
      await program.stop();
    },
  };
}

function table(measured: Readonly<Record<Server, readonly (readonly Summary[])[]>>) {
  return {
    title: "From a push to the device's acknowledgement, ms; medians over the rounds",
    columns: ['', 'at once', 'samples a round', 'p50', 'p99', 'max'],
    rows: LOADS.flatMap((load, at) =>
      SERVERS.map((server) => {
        const rounds = measured[server][at] ?? [];
        const middle = (value: (summary: Summary) => number) => median(rounds.map(value));
        return [
          ...[server, load, middle(({ count }) => count), middle(({ p50 }) => p50), middle(({ p99 }) => p99)],
          Math.max(...rounds.map(({ max }) => max)),
        ];
      }),
    ),
    note: 'call-broker: an HTTP push that is stored in PostgreSQL before it is answered, then delivered. Raw: a NATS request that a process passes on to its socket and answers when the device has; nothing is stored.',
  };
}
