import { metrics } from '@opentelemetry/api';
import type { Err } from '@weir/protocol-turing';

export interface Load {
  readonly robots: number;
  readonly apps: number;
  readonly starting: number;
  readonly live: number;
}

const SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2.5, 5, 10, 15, 30];

/** Constructed when the service starts, because telemetry must be set up before. */
export class RobotMetrics {
  readonly #meter = metrics.getMeter('@weir/robot-channel');
  readonly #commands = this.#meter.createHistogram('weir.robot.command.duration', {
    description: "Time from a command to the robot's answer, by act and outcome (`dm`).",
    unit: 's',
    advice: { explicitBucketBoundaries: SECONDS },
  });
  readonly #requests = this.#meter.createHistogram('weir.robot.request.duration', {
    description: "Time from an app's request to its reply, by act and outcome (`dm`).",
    unit: 's',
    advice: { explicitBucketBoundaries: SECONDS },
  });
  readonly #starts = this.#meter.createHistogram('weir.robot.stream.start.duration', {
    description:
      'Time from the request that started a stream until its picture flowed or it failed, by outcome (`dm`).',
    unit: 's',
    advice: { explicitBucketBoundaries: SECONDS },
  });
  readonly #ends = this.#meter.createCounter('weir.robot.stream.ends', { description: 'Streams that ended, by why.' });
  readonly #refused = this.#meter.createCounter('weir.robot.refused', {
    description: 'Handshakes and frames that were refused, and sockets that the server closed.',
  });

  observe(load: () => Load): void {
    this.#meter
      .createObservableGauge('weir.robot.online', { description: 'Robots whose sockets this instance holds.' })
      .addCallback((result) => result.observe(load().robots));
    this.#meter
      .createObservableGauge('weir.robot.apps', { description: "Apps' sockets of this instance." })
      .addCallback((result) => result.observe(load().apps));
    this.#meter
      .createObservableGauge('weir.robot.streams', { description: "Cameras' streams of this instance, by state." })
      .addCallback((result) => {
        const { starting, live } = load();
        result.observe(starting, { state: 'starting' });
        result.observe(live, { state: 'live' });
      });
  }

  commanded(act: string, err: Err | undefined, elapsedMs: number): void {
    this.#commands.record(elapsedMs / 1_000, { act, dm: err?.dm ?? 'ok' });
  }

  replied(act: string, err: Err | undefined, elapsedMs: number): void {
    // Act names that apps make up must not each create a time series.
    this.#requests.record(elapsedMs / 1_000, { act: err?.ec === 102 ? 'unknown' : act, dm: err?.dm ?? 'ok' });
  }

  started(err: Err | undefined, elapsedMs: number): void {
    this.#starts.record(elapsedMs / 1_000, { dm: err?.dm ?? 'ok' });
  }

  ended(why: string): void {
    this.#ends.add(1, { why });
  }

  refused(what: 'handshake' | 'frame' | 'socket', why: string): void {
    this.#refused.add(1, { what, why });
  }
}
