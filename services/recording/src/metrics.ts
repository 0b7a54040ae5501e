import { metrics } from '@opentelemetry/api';
import type { RecordingState } from './recording-machine.js';

export interface RecordingLoad {
  readonly state: RecordingState;
  readonly sizeBytes: number;
  readonly atRiskMs: number;
}

const SHOWN = ['opening', 'recording', 'waiting', 'closing', 'finishing', 'unfinished'] as const;

/** Constructed when the service starts, because telemetry must be set up before. */
export class RecordingMetrics {
  readonly #meter = metrics.getMeter('@weir/recording');
  readonly #ends = this.#meter.createCounter('weir.recording.ends', {
    description: 'Recordings that ended, by whether there is a file.',
  });
  readonly #deliveries = this.#meter.createHistogram('weir.recording.delivery.duration', {
    description: 'From the end of a recording until its file was delivered or given up, by destination and outcome.',
    unit: 's',
    advice: { explicitBucketBoundaries: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800, 21_600, 86_400, 259_200] },
  });

  observe(recordings: () => readonly RecordingLoad[]): void {
    this.#meter
      .createObservableGauge('weir.recording.recordings', {
        description: 'Recordings that this instance works on, by state.',
      })
      .addCallback((result) => {
        const now = recordings();
        for (const tag of SHOWN) result.observe(now.filter(({ state }) => state.tag === tag).length, { state: tag });
      });
    this.#meter
      .createObservableGauge('weir.recording.bytes', {
        description: 'Bytes in the parts of the recordings that this instance works on.',
        unit: 'By',
      })
      .addCallback((result) => {
        result.observe(recordings().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
      });
    this.#meter
      .createObservableGauge('weir.recording.at_risk', {
        description: 'How long ago the oldest media came that a power failure would take, of all recordings.',
        unit: 's',
      })
      .addCallback((result) => {
        result.observe(Math.max(0, ...recordings().map(({ atRiskMs }) => atRiskMs)) / 1_000);
      });
  }

  changed(tag: RecordingState['tag']): void {
    if (tag === 'finished' || tag === 'failed') this.#ends.add(1, { outcome: tag });
  }

  delivered(destination: string, outcome: 'delivered' | 'failed', durationMs: number): void {
    this.#deliveries.record(durationMs / 1_000, { destination, outcome });
  }
}
