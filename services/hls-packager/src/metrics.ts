import { metrics } from '@opentelemetry/api';

export interface Load {
  readonly streams: Readonly<Record<'waiting' | 'flowing' | 'away' | 'ended', number>>;
  readonly viewers: number;
  readonly bytes: number;
  readonly waiting: number;
  readonly transcodes: number;
}

export type ServedKind = 'playlist' | 'segment' | 'part' | 'init';

/** It is made when the service starts, after telemetry is set up. */
export class HlsMetrics {
  readonly #meter = metrics.getMeter('@weir/hls-packager');
  readonly #partLatency = this.#meter.createHistogram('weir.hls.part.latency', {
    description: "From the capture of a part's last picture, by its source's clock, to the part being there to fetch.",
    unit: 's',
    advice: { explicitBucketBoundaries: [0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5] },
  });
  readonly #startTime = this.#meter.createHistogram('weir.hls.start.duration', {
    description: 'From the first request for a stream to its first part.',
    unit: 's',
    advice: { explicitBucketBoundaries: [0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 12] },
  });
  readonly #packaged = this.#meter.createCounter('weir.hls.packaged', {
    description: 'Bytes of parts made.',
    unit: 'By',
  });
  readonly #served = this.#meter.createCounter('weir.hls.served', { description: 'Bytes sent, by kind.', unit: 'By' });
  readonly #lost = this.#meter.createCounter('weir.hls.frames.lost', { description: 'Losses before frames.' });
  readonly #refused = this.#meter.createCounter('weir.hls.refused', { description: 'Requests refused, by status.' });

  observe(load: () => Load): void {
    this.#meter
      .createObservableGauge('weir.hls.streams', { description: 'Streams being packaged, by state.' })
      .addCallback((result) => {
        for (const [state, count] of Object.entries(load().streams)) result.observe(count, { state });
      });
    const gauges = {
      viewers: ['weir.hls.viewers', 'Who fetched a playlist within the last 15 s; an estimate.'],
      bytes: ['weir.hls.held', 'Bytes of segments in memory.'],
      waiting: ['weir.hls.waiting', 'Requests that wait for a part that is still to come.'],
      transcodes: ['weir.hls.transcodes', 'Streams being transcoded, each by an ffmpeg.'],
    } as const;
    for (const key of ['viewers', 'bytes', 'waiting', 'transcodes'] as const) {
      const [name, description] = gauges[key];
      this.#meter.createObservableGauge(name, { description }).addCallback((result) => result.observe(load()[key]));
    }
  }

  partMade(latencyMs: number, bytes: number): void {
    this.#partLatency.record(Math.max(0, latencyMs) / 1_000);
    this.#packaged.add(bytes);
  }

  started(elapsedMs: number): void {
    this.#startTime.record(elapsedMs / 1_000);
  }

  served(kind: ServedKind, bytes: number): void {
    this.#served.add(bytes, { kind });
  }

  framesLost(count: number): void {
    this.#lost.add(count);
  }

  refused(status: number): void {
    this.#refused.add(1, { status });
  }
}
