import { metrics } from '@opentelemetry/api';
import { MESSAGE_FLAG, type MessageFlag } from '@weir/protocol-topvdn';

const FLAG_NAMES = {
  [MESSAGE_FLAG.acknowledged]: 'acknowledged',
  [MESSAGE_FLAG.once]: 'once',
} as const satisfies Record<MessageFlag, string>;

/** Constructed when the service starts, because telemetry must be set up before. */
export class CallBrokerMetrics {
  readonly #meter = metrics.getMeter('@weir/call-broker');
  readonly #messages = this.#meter.createCounter('weir.calls.messages', {
    description: 'Messages that were pushed, by flag and by whether they were accepted.',
  });
  readonly #snapshots = this.#meter.createCounter('weir.calls.snapshots', {
    description: 'Pictures of devices, by what became of them: uploaded, refused, shown, missing.',
  });

  observe(devices: () => number): void {
    this.#meter
      .createObservableGauge('weir.calls.devices', { description: 'Devices that are connected to this instance.' })
      .addCallback((result) => result.observe(devices()));
  }

  pushed(flags: readonly MessageFlag[], outcome: 'accepted' | 'full'): void {
    for (const flag of Object.values(MESSAGE_FLAG)) {
      const count = flags.filter((one) => one === flag).length;
      if (count > 0) this.#messages.add(count, { flag: FLAG_NAMES[flag], outcome });
    }
  }

  snapshot(outcome: 'uploaded' | 'refused' | 'shown' | 'missing'): void {
    this.#snapshots.add(1, { outcome });
  }
}
