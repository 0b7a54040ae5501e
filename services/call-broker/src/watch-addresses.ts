import type { Bus } from '@weir/bus';
import { HlsAddresses } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import type { Calls } from './calls.js';

export interface WatchAddressesPorts {
  readonly bus: Pick<Bus, 'call'>;
  readonly calls: Pick<Calls, 'streamOf'>;
  readonly log: Pick<Logger, 'warn'>;
}

/** Who watches for longer asks for a new address. */
const LIFE_MS = 600_000;

/** Where an app watches the streams that its devices send in their calls. */
export class WatchAddresses {
  constructor(private readonly ports: WatchAddressesPorts) {}

  /** Path and query, by the device. Never rejects: while nobody serves HLS, nothing can be watched. */
  async of(tenant: string, cids: readonly number[]): Promise<ReadonlyMap<number, string>> {
    const { bus, calls, log } = this.ports;
    try {
      const streams = (
        await Promise.all(cids.map(async (cid) => ({ cid, streamName: await calls.streamOf(cid) })))
      ).flatMap(({ cid, streamName }) => (streamName === undefined ? [] : [{ cid, streamName }]));
      if (streams.length === 0) return new Map();
      const { addresses } = await bus.call(HlsAddresses.method.sign, {
        ...{ tenant, streamNames: streams.map(({ streamName }) => streamName) },
        expiresAtMs: BigInt(Date.now() + LIFE_MS),
      });
      return new Map(streams.map(({ cid }, index) => [cid, addresses[index] ?? '']));
    } catch (error) {
      log.warn({ err: error }, 'devices are told without the addresses of their streams');
      return new Map();
    }
  }
}
