import { setTimeout as sleep } from 'node:timers/promises';
import type { LeaseRecord, Leases } from '@weir/leases';
import { sidesOf, type OtherCall } from '@weir/protocol-topvdn';
import { callSnapshot, type CallSnapshot } from './call-snapshot.js';

/** A lease that nobody renews ends after this time; a call whose instance is gone can be taken over until then. */
export const CALL_LEASE_TTL_MS = 60_000;
/** How long a place may be held by a call that can't be found: one that is just beginning, or just ending. */
const UNKNOWN_HOLDER_MS = 3_000;
const LOOK_AGAIN_MS = 30;

export interface Place {
  readonly cid: number;
  readonly epoch: bigint;
}

export type Claimed =
  { readonly tag: 'claimed'; readonly places: readonly Place[] } | { readonly tag: 'taken'; readonly by: OtherCall };

/** A call as Redis knows it. */
export interface StoredCall {
  readonly owner: string;
  readonly epoch: bigint;
  readonly snapshot: CallSnapshot;
}

/**
 * In Redis: which instance runs a call, with all that another one needs to go on with it; which call a device is in; and
 * which call a device's URL rings for. Every call throws while Redis is away.
 */
export class CallLeases {
  constructor(private readonly leases: { readonly calls: Leases; readonly places: Leases; readonly rings: Leases }) {}

  /** Enters a new call. */
  begin(callId: string, snapshot: CallSnapshot): Promise<bigint> {
    return this.leases.calls.take(callId, JSON.stringify(snapshot));
  }

  /** @returns false if another instance runs the call by now */
  async save(callId: string, epoch: bigint, snapshot: CallSnapshot): Promise<boolean> {
    const [kept] = await this.leases.calls.renew([{ name: callId, epoch, value: JSON.stringify(snapshot) }]);
    return kept !== false;
  }

  /** This instance runs the call from now on, if nobody else was faster. */
  async takeOver(callId: string, { epoch, snapshot }: StoredCall): Promise<bigint | undefined> {
    const claim = await this.leases.calls.claim(callId, JSON.stringify(snapshot), epoch);
    return claim.tag === 'mine' ? claim.epoch : undefined;
  }

  async find(callId: string): Promise<StoredCall | undefined> {
    return storedIn(await this.leases.calls.find(callId));
  }

  async all(): Promise<{ readonly callId: string; readonly stored: StoredCall }[]> {
    return (await this.leases.calls.list()).flatMap((lease) => {
      const stored = storedIn(lease);
      return stored === undefined ? [] : [{ callId: lease.name, stored }];
    });
  }

  /** The call that the device is in. */
  async callOf(cid: number): Promise<string | undefined> {
    return (await this.leases.places.find(String(cid)))?.value;
  }

  /** The call that the device's URL rings for. */
  async ringOf(cid: number): Promise<string | undefined> {
    return (await this.leases.rings.find(String(cid)))?.value;
  }

  /** The newest ring of a device counts. */
  async ring(caller: number, callId: string): Promise<Place> {
    return { cid: caller, epoch: await this.leases.rings.take(String(caller), callId) };
  }

  async stopRinging({ cid, epoch }: Place): Promise<void> {
    await this.leases.rings.release(String(cid), epoch);
  }

  /** Takes the places of both devices for the call, in the given order, or none. */
  async claim(callId: string, cids: readonly number[]): Promise<Claimed> {
    const startedMs = performance.now();
    for (;;) {
      const taken: Place[] = [];
      let holder: LeaseRecord | undefined;
      for (const cid of cids) {
        const claim = await this.leases.places.claim(String(cid), callId);
        if (claim.tag === 'held' && claim.by.value !== callId) {
          holder = claim.by;
          break;
        }
        taken.push({ cid, epoch: claim.tag === 'held' ? claim.by.epoch : claim.epoch });
      }
      if (holder === undefined) return { tag: 'claimed', places: taken };
      await this.release(taken);
      const stored = await this.find(holder.value);
      const sides = stored && sidesOf(stored.snapshot.call);
      if (sides !== undefined) return { tag: 'taken', by: { callId: holder.value, ...sides } };
      if (stored === undefined && performance.now() - startedMs > UNKNOWN_HOLDER_MS)
        await this.leases.places.release(holder.name, holder.epoch); // left behind by a call that nobody runs
      await sleep(LOOK_AGAIN_MS);
    }
  }

  async release(places: readonly Place[]): Promise<void> {
    for (const { cid, epoch } of places) await this.leases.places.release(String(cid), epoch);
  }

  async end(callId: string, epoch: bigint): Promise<void> {
    await this.leases.calls.release(callId, epoch);
  }

  /** Renews the places of a call, and its ring. They belong to this instance from then on. */
  async renew(callId: string, places: readonly Place[], ring: Place | undefined): Promise<void> {
    await this.leases.places.renew(places.map(({ cid, epoch }) => ({ name: String(cid), epoch, value: callId })));
    if (ring !== undefined)
      await this.leases.rings.renew([{ name: String(ring.cid), epoch: ring.epoch, value: callId }]);
  }
}

const storedIn = (lease: LeaseRecord | undefined): StoredCall | undefined => {
  if (lease === undefined) return undefined;
  const parsed = callSnapshot.safeParse(JSON.parse(lease.value));
  return parsed.success ? { owner: lease.owner, epoch: lease.epoch, snapshot: parsed.data } : undefined;
};
