import { randomUUID } from 'node:crypto';
// eslint-disable-next-line @nx/enforce-module-boundaries -- a service must own what this makes, and this stands in for one
import { Bus } from '@weir/bus';
// eslint-disable-next-line @nx/enforce-module-boundaries -- as above
import { InstanceEvents } from '@weir/contracts';
import type { BenchPlatform } from './platform.js';

const ALIVE_INTERVAL_MS = 1_000;

/** Takes part in the bus as a service does, and owns what it asks media for. */
export class StandInService {
  readonly #timer: NodeJS.Timeout;

  private constructor(readonly bus: Bus) {
    this.#sayAlive();
    this.#timer = setInterval(() => this.#sayAlive(), ALIVE_INTERVAL_MS);
  }

  static async connect({ natsUrl }: Pick<BenchPlatform, 'natsUrl'>): Promise<StandInService> {
    const url = new URL(natsUrl);
    const bus = await Bus.connect({
      url: natsUrl,
      service: 'bench',
      instanceId: `bench-${randomUUID()}`,
      ...(url.username !== '' && {
        user: decodeURIComponent(url.username),
        password: decodeURIComponent(url.password),
      }),
    });
    return new StandInService(bus);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.bus.drain();
  }

  /** Media ends the streams of an owner that falls silent. */
  #sayAlive(): void {
    this.bus.publish(InstanceEvents.method.alive, {
      service: this.bus.service,
      instanceId: this.bus.instanceId,
      startedAtMs: BigInt(Math.floor(performance.timeOrigin)),
    });
  }
}
