import { metrics } from '@opentelemetry/api';
import type { Direction } from '@weir/protocol-wcs';

export interface Load {
  readonly sessions: number;
  readonly publishers: number;
  readonly players: number;
}

/** It is made when the service starts, after telemetry is set up. */
export class WcsMetrics {
  readonly #meter = metrics.getMeter('@weir/wcs-signalling');
  readonly #joins = this.#meter.createCounter('weir.wcs.joins', {
    description: 'Streams that reached PUBLISHING or PLAYING.',
  });
  readonly #joinTime = this.#meter.createHistogram('weir.wcs.join.duration', {
    description: "Time from a client's publishStream or playStream to PUBLISHING or PLAYING.",
    unit: 's',
    advice: { explicitBucketBoundaries: [0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 15] },
  });
  readonly #frames = this.#meter.createCounter('weir.wcs.frames', { description: 'Text frames, by direction.' });
  readonly #refused = this.#meter.createCounter('weir.wcs.refused', {
    description: 'Frames, streams and sessions that were refused or failed.',
  });

  observe(load: () => Load): void {
    this.#meter
      .createObservableGauge('weir.wcs.sessions', { description: 'Open WCS sessions.' })
      .addCallback((result) => result.observe(load().sessions));
    this.#meter
      .createObservableGauge('weir.wcs.streams', { description: 'Streams of WCS sessions, by direction.' })
      .addCallback((result) => {
        const { publishers, players } = load();
        result.observe(publishers, { direction: 'publish' });
        result.observe(players, { direction: 'play' });
      });
  }

  joined(direction: Direction, elapsedMs: number): void {
    this.#joins.add(1, { direction });
    this.#joinTime.record(elapsedMs / 1_000, { direction });
  }

  frame(direction: 'in' | 'out'): void {
    this.#frames.add(1, { direction });
  }

  refused(what: 'frame' | 'stream' | 'session', reason: string): void {
    this.#refused.add(1, { what, reason });
  }
}
