import { create, fromJsonString, toJsonString, type MessageInitShape } from '@bufbuild/protobuf';
import { StreamInfoSchema, type StreamInfo } from '@weir/contracts';
import { Leases, type LeaseRecord, type LeaseStore } from '@weir/leases';

/** A stream's lease expires when no node renews it for this long. */
const LEASE_TTL_MS = 10_000;

export type Claim =
  { readonly tag: 'mine'; readonly epoch: bigint } | { readonly tag: 'held'; readonly by: StreamInfo };

type StreamName = Pick<StreamInfo, 'tenant' | 'streamName'>;

/** The streams of all nodes. Each stream has a lease, whose value is the stream's present state. */
export class StreamRegistry {
  readonly #leases: Leases;

  /**
   * @param slot names a place that only one node at a time can have (host and media port), so that a node that takes
   * the place of a dead node recognises that node's streams
   */
  constructor(
    redis: LeaseStore,
    private readonly slot: string,
  ) {
    this.#leases = new Leases(redis, { prefix: 'weir:stream', owner: slot, ttlMs: LEASE_TTL_MS, groupOf: tenantOf });
  }

  /** @param insteadOf the epoch of a lease whose owner is known to be gone */
  async claim(init: MessageInitShape<typeof StreamInfoSchema>, insteadOf?: bigint): Promise<Claim> {
    const info = create(StreamInfoSchema, init);
    const claim = await this.#leases.claim(leaseNameOf(info), toJsonString(StreamInfoSchema, info), insteadOf);
    return claim.tag === 'mine' ? claim : { tag: 'held', by: infoIn(claim.by) };
  }

  /**
   * Writes the stream's present state and keeps its lease alive.
   * @returns false when a later epoch has the name
   */
  async write(info: StreamInfo): Promise<boolean> {
    const value = toJsonString(StreamInfoSchema, info);
    const [isMine] = await this.#leases.renew([{ name: leaseNameOf(info), epoch: info.epoch, value }]);
    return isMine === true;
  }

  async release({ epoch, ...name }: StreamName & Pick<StreamInfo, 'epoch'>): Promise<void> {
    await this.#leases.release(leaseNameOf(name), epoch);
  }

  async find(tenant: string, streamName: string): Promise<StreamInfo | undefined> {
    const record = await this.#leases.find(leaseNameOf({ tenant, streamName }));
    return record && infoIn(record);
  }

  async list(tenant: string): Promise<StreamInfo[]> {
    return (await this.#leases.list(tenant)).map(infoIn);
  }

  /** Removes the streams that an earlier process in this node's slot has left. */
  async removeLeftovers(nodeId: string): Promise<StreamInfo[]> {
    const leftovers: StreamInfo[] = [];
    for (const tenant of await this.#leases.groups())
      for (const record of await this.#leases.list(tenant)) {
        const info = infoIn(record);
        if (record.owner !== this.slot || info.nodeId === nodeId) continue;
        await this.#leases.release(record.name, record.epoch);
        leftovers.push(info);
      }
    return leftovers;
  }
}

/** A tenant's name has no colon, so the first colon ends it. */
const leaseNameOf = ({ tenant, streamName }: StreamName) => `${tenant}:${streamName}`;

const tenantOf = (leaseName: string) => leaseName.slice(0, leaseName.indexOf(':'));

const infoIn = ({ value, epoch }: LeaseRecord): StreamInfo => ({
  ...fromJsonString(StreamInfoSchema, value, { ignoreUnknownFields: true }),
  epoch,
});
