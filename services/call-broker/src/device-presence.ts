import type { LeaseRecord, Leases } from '@weir/leases';
import type { DeviceState } from '@weir/protocol-topvdn';
import { z } from 'zod';

export type ConnectedState = Exclude<DeviceState, 0>;

export const connectedState = z.literal([1, 2, 3, 4, 5]) satisfies z.ZodType<ConnectedState>;

/** What the platform knows of a device that is connected. */
export interface Sighting {
  readonly state: ConnectedState;
  /** From where the device has connected. */
  readonly address: string;
  /** 0 if it isn't known. */
  readonly port: number;
}

const sighting = z.object({ state: connectedState, address: z.string(), port: z.number() });

export interface DevicePresence extends Sighting {
  readonly cid: number;
  /** The instance that has the device's socket. */
  readonly instanceId: string;
  /** Grows with every connection of the device. */
  readonly epoch: bigint;
}

/** A connection of a device. */
export type DeviceConnection = Pick<DevicePresence, 'cid' | 'epoch'>;

/** A lease that nobody renews ends after this time. An instance that ends is noticed much earlier. */
export const PRESENCE_TTL_MS = 30_000;

/** Which devices are connected, and which instance has their sockets: one lease for each device, in Redis. */
export class DevicePresences {
  /** Every call throws while Redis is away. */
  constructor(private readonly leases: Pick<Leases, 'take' | 'renew' | 'release' | 'findAll' | 'list'>) {}

  /** This instance has the device's socket now, whoever had it before. @returns the connection's epoch */
  arrive(cid: number, seen: Sighting): Promise<bigint> {
    return this.leases.take(String(cid), valueOf(seen));
  }

  /** @returns false if the device has another connection by now */
  leave({ cid, epoch }: DeviceConnection): Promise<boolean> {
    return this.leases.release(String(cid), epoch);
  }

  /** @returns the devices that have a newer connection */
  async renew(held: readonly (DeviceConnection & Sighting)[]): Promise<DeviceConnection[]> {
    const kept = await this.leases.renew(
      held.map((device) => ({ name: String(device.cid), epoch: device.epoch, value: valueOf(device) })),
    );
    return held.filter((_device, index) => kept[index] === false);
  }

  async find(cids: readonly number[]): Promise<DevicePresence[]> {
    return (await this.leases.findAll(cids.map(String))).flatMap((lease) => presenceIn(lease));
  }

  /** It reads all leases, so don't call it often. */
  async all(): Promise<DevicePresence[]> {
    return (await this.leases.list()).flatMap((lease) => presenceIn(lease));
  }
}

const valueOf = ({ state, address, port }: Sighting): string => JSON.stringify({ state, address, port });

const presenceIn = (lease: LeaseRecord | undefined): DevicePresence[] => {
  if (lease === undefined) return [];
  const { name, owner: instanceId, epoch, value } = lease;
  return [{ cid: Number(name), instanceId, epoch, ...sighting.parse(JSON.parse(value)) }];
};
