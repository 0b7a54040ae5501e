import { metrics } from '@opentelemetry/api';
import type { MessageState, Outcome } from './message.js';

export interface QueueCount {
  readonly queue: string;
  readonly state: Exclude<MessageState, 'delivered'>;
  readonly count: number;
  readonly oldestS: number;
}

/** Constructed when the service starts, because telemetry must be set up before. */
export class OutboxMetrics {
  readonly #meter = metrics.getMeter('@weir/outbox');
  readonly #attempts = this.#meter.createHistogram('weir.outbox.attempt.duration', {
    description: 'Attempts to deliver a message, by queue and result.',
    unit: 's',
    advice: { explicitBucketBoundaries: [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800] },
  });

  attempted(queue: string, result: Outcome['tag'], durationMs: number): void {
    this.#attempts.record(durationMs / 1_000, { queue, result });
  }

  observe(counts: () => readonly QueueCount[]): void {
    this.#meter
      .createObservableGauge('weir.outbox.messages', {
        description: 'Messages of all instances that wait to be delivered or are dead, by queue and state.',
      })
      .addCallback((result) => {
        for (const { queue, state, count } of counts()) result.observe(count, { queue, state });
      });
    this.#meter
      .createObservableGauge('weir.outbox.oldest', {
        description: 'The age of the oldest message that waits to be delivered, by queue.',
        unit: 's',
      })
      .addCallback((result) => {
        for (const { queue, state, oldestS } of counts()) if (state === 'waiting') result.observe(oldestS, { queue });
      });
  }
}
