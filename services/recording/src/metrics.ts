import { metrics } from '@opentelemetry/api';
import type { RecordingState } from './recording-machine.js';

export interface RecordingLoad {
  readonly state: RecordingState;
  readonly sizeBytes: number;
}

const SHOWN = ['opening', 'recording', 'waiting', 'closing', 'finishing', 'unfinished'] as const;

/** Constructed when the service starts, because telemetry must be set up before. */
export class RecordingMetrics {
  readonly #meter = metrics.getMeter('@weir/recording');
  readonly #ends = this.#meter.createCounter('weir.recording.ends', {
    description: 'Recordings that ended, by whether there is a file.',
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
        description: 'Bytes that the recordings of this instance have on the disk.',
        unit: 'By',
      })
      .addCallback((result) => {
        result.observe(recordings().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0));
      });
  }

  changed(tag: RecordingState['tag']): void {
    if (tag === 'finished' || tag === 'failed') this.#ends.add(1, { outcome: tag });
  }
}
