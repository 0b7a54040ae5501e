import { metrics } from '@opentelemetry/api';
import type { WorkerPool } from './worker-pool.js';

const meter = metrics.getMeter('@weir/media');
const joins = meter.createCounter('weir.media.joins', { description: 'Publishers and players that were answered.' });

export const joinMetrics = {
  published: (videoCodec: string) => joins.add(1, { kind: 'publish', codec: videoCodec }),
  played: (videoCodec: string) => joins.add(1, { kind: 'play', codec: videoCodec }),
};

export interface Load {
  streams: number;
  publishers: number;
  players: number;
}

/** Adds metrics that are read at each collection. */
export function observeLoad(workers: WorkerPool, load: () => Load): void {
  meter
    .createObservableGauge('weir.media.streams', { description: 'Streams published on this node.' })
    .addCallback((result) => result.observe(load().streams));
  meter
    .createObservableGauge('weir.media.sessions', { description: 'WebRTC clients on this node.' })
    .addCallback((result) => {
      const { publishers, players } = load();
      result.observe(publishers, { kind: 'publish' });
      result.observe(players, { kind: 'play' });
    });
  meter
    .createObservableGauge('weir.media.worker.transports', { description: 'WebRTC transports of a worker.' })
    .addCallback((result) => {
      for (const worker of workers.list()) result.observe(worker.transportCount, { worker: worker.index });
    });
  meter
    .createObservableCounter('weir.media.worker.cpu', {
      description: 'CPU time that a worker has used.',
      unit: 's',
    })
    .addCallback(async (result) => {
      for (const { worker, index } of workers.list()) {
        const usage = await worker.getResourceUsage();
        result.observe((usage.ru_utime + usage.ru_stime) / 1_000, { worker: index });
      }
    });
}
