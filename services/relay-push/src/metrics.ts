import { metrics } from '@opentelemetry/api';
import type { AttemptEnd, AttemptStats } from './attempt.js';
import type { RelayPhase } from './relay.js';
import type { Direction } from './store.js';

export interface RelayLoad {
  readonly direction: Direction;
  readonly phase: RelayPhase;
  readonly stats: AttemptStats;
}

/** Constructed when the service starts, because telemetry must be set up before. */
export class RelayMetrics {
  readonly #meter = metrics.getMeter('@weir/relay-push');
  readonly #attempts = this.#meter.createCounter('weir.relay.attempts', {
    description: 'Tries to reach another server.',
  });
  readonly #ends = this.#meter.createCounter('weir.relay.ends', { description: 'Ended tries, by what ended them.' });
  readonly #startTime = this.#meter.createHistogram('weir.relay.start.duration', {
    description: 'Time from the begin of a try to PUBLISHING or PLAYING.',
    unit: 's',
    advice: { explicitBucketBoundaries: [0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 15] },
  });

  observe(relays: () => readonly RelayLoad[]): void {
    const gauge = (name: string, description: string, valueOf: (stats: AttemptStats) => number) =>
      this.#meter.createObservableGauge(name, { description }).addCallback((result) => {
        for (const direction of ['push', 'pull'] as const) {
          const running = relays().filter((relay) => relay.direction === direction && relay.phase === 'running');
          result.observe(Math.max(0, ...running.map(({ stats }) => valueOf(stats))), { direction });
        }
      });
    this.#meter
      .createObservableGauge('weir.relay.relays', {
        description: 'Relays that this instance runs, by direction and state.',
      })
      .addCallback((result) => {
        for (const direction of ['push', 'pull'] as const)
          for (const phase of ['new', 'running', 'waiting'] as const)
            result.observe(relays().filter((relay) => relay.direction === direction && relay.phase === phase).length, {
              direction,
              state: phase,
            });
      });
    gauge(
      'weir.relay.loss.max',
      'The worst share of lost packets among running relays.',
      ({ fractionLost }) => fractionLost,
    );
    gauge('weir.relay.rtt.max', 'The longest round trip among running relays, in ms.', ({ rttMs }) => rttMs ?? 0);
  }

  tried(direction: Direction): void {
    this.#attempts.add(1, { direction });
  }

  started(direction: Direction, elapsedMs: number): void {
    this.#startTime.record(elapsedMs / 1_000, { direction });
  }

  ended(direction: Direction, end: AttemptEnd): void {
    this.#ends.add(1, { direction, reason: end.tag === 'remote' ? `remote-${end.end.tag}` : end.tag });
  }
}
