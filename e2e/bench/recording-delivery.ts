import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { serveOnLoopback } from '../src/loopback-server.js';
import type { TestBed } from './recording-cost.js';
import type { Destination } from './recordings-client.js';

export interface Delivered {
  /** From the request to stop until the recording's state is `delivered`; for a PUT until the receiver has the file. */
  readonly ms: number;
  readonly sizeBytes: number;
}

/**
 * Makes `count` recordings at once, spread over the streams, and ends them one after another.
 * @param lengthMs how long each recording is at least
 */
export async function timeDeliveries(
  { client, streams }: TestBed,
  kind: Destination['kind'],
  { count, lengthMs }: { readonly count: number; readonly lengthMs: number },
): Promise<Delivered[]> {
  const receivedAtMs = new Map<string, number>();
  const receiver = await serveOnLoopback((request, response) => {
    void received(request).then(() => {
      receivedAtMs.set(request.url ?? '', performance.now());
      response.writeHead(200).end();
    });
  });
  const delivered: Delivered[] = [];
  try {
    const going: { id: string; path: string }[] = [];
    for (let index = 0; index < count; index++) {
      const path = `/${kind}-${index}.mp4`;
      const destination: Destination = kind === 'put' ? { kind, url: `${receiver.url}${path}` } : { kind };
      going.push({ id: await client.start(streams[index % streams.length] ?? '', destination), path });
    }
    await client.untilWritten(going.map(({ id }) => id));
    await new Promise((resolve) => setTimeout(resolve, lengthMs));
    for (const { id, path } of going) {
      const stoppedMs = performance.now();
      await client.stop(id);
      const { sizeBytes } = await client.until('delivered', id);
      const seenMs = performance.now();
      delivered.push({ ms: (receivedAtMs.get(path) ?? seenMs) - stoppedMs, sizeBytes: sizeBytes ?? 0 });
      await client.remove(id);
    }
    return delivered;
  } finally {
    await receiver.close();
  }
}

/** Reads a body and forgets it. */
const received = async (request: IncomingMessage): Promise<void> => {
  await once(request.resume(), 'end');
};
