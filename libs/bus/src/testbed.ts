import { type TestServer, startNats } from '@weir/testing';
import { Bus, type BusOptions } from './bus.js';
import type { BusLog } from './log.js';

export interface LogEntry {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: Record<string, unknown>;
  readonly message: string;
}

/** A real NATS server and buses on it; all of them end with the spec. */
export class Testbed {
  readonly log: LogEntry[] = [];
  readonly #buses: Bus[] = [];
  #names = 0;

  private constructor(readonly nats: TestServer) {}

  static async start(options?: Parameters<typeof startNats>[0]): Promise<Testbed> {
    return new Testbed(await startNats(options));
  }

  async bus(options: Partial<BusOptions> = {}): Promise<Bus> {
    const bus = await Bus.connect({
      url: this.nats.url,
      service: 'spec',
      instanceId: `spec-${++this.#names}`,
      log: this.recorder,
      ...options,
    });
    this.#buses.push(bus);
    return bus;
  }

  /** Collects in `log` what the buses of this bed log. */
  get recorder(): BusLog {
    const record = (level: LogEntry['level']) => (fields: object, message: string) =>
      void this.log.push({ level, fields: { ...fields }, message });
    return { debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') };
  }

  logged(message: string): LogEntry | undefined {
    return this.log.find((entry) => entry.message === message);
  }

  /** Ends the buses of one test. */
  async clear(): Promise<void> {
    await Promise.all(this.#buses.splice(0).map((bus) => bus.drain({ graceMs: 0 })));
    this.log.length = 0;
  }

  async stop(): Promise<void> {
    await this.clear();
    await this.nats.stop();
  }
}
