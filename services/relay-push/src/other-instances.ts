import type { MessageInitShape } from '@bufbuild/protobuf';
import { nobodyServes, type Bus, type Registration } from '@weir/bus';
import { InstanceRelays, RelayPhase, type RelayStatsSchema, type RunningRelay } from '@weir/contracts';
import type { Logger } from '@weir/platform';
import type { AttemptStats } from './attempt.js';
import type { RelayStatus } from './relay.js';

/** A relay's present state at the instance that runs it. */
export interface LiveRelay {
  readonly id: string;
  readonly status: RelayStatus;
  readonly stats: AttemptStats;
}

const PHASES = {
  new: RelayPhase.NEW,
  running: RelayPhase.RUNNING,
  waiting: RelayPhase.WAITING,
  failed: RelayPhase.FAILED,
} as const satisfies Record<RelayStatus['phase'], RelayPhase>;

/** Undefined for a phase that this version doesn't know. */
const phaseOf = (phase: RelayPhase): RelayStatus['phase'] | undefined => {
  switch (phase) {
    case RelayPhase.NEW:
      return 'new';
    case RelayPhase.RUNNING:
      return 'running';
    case RelayPhase.WAITING:
      return 'waiting';
    case RelayPhase.FAILED:
      return 'failed';
    case RelayPhase.UNSPECIFIED:
      return undefined;
    default:
      return phase satisfies never;
  }
};

export interface OwnedRelay {
  readonly id: string;
  /** The instance that runs the relay, or ran it last. */
  readonly owner: string | null;
}

/** What an instance knows about a relay that it doesn't run itself. */
export type Elsewhere =
  | { readonly tag: 'live'; readonly live: LiveRelay }
  /** Its instance is gone, and nobody runs the relay until another instance takes it over. */
  | { readonly tag: 'orphan' }
  /** Only the database's row is known. */
  | { readonly tag: 'unknown' };

/** Asks the other instances of relay-push over the bus. */
export class OtherInstances {
  constructor(private readonly ports: { readonly bus: Bus; readonly log: Logger }) {}

  /** Answers the other instances' questions about this one. */
  serve(relays: () => readonly LiveRelay[]): Registration {
    return this.ports.bus.serve(InstanceRelays.method.listRelays, () => ({
      relays: relays().map(({ id, status, stats }) => ({
        relayId: id,
        phase: PHASES[status.phase],
        reason: status.reason,
        retries: status.retries,
        notCarried: [...status.notCarried],
        localMediaSessionId: status.localMediaSessionId ?? '',
        remoteMediaSessionId: status.remoteMediaSessionId ?? '',
        stats: toMessage(stats),
      })),
    }));
  }

  /** Looks up the relays of other instances; asks each owner once. Never rejects. */
  async lookUp(relays: readonly OwnedRelay[]): Promise<(id: string) => Elsewhere> {
    const owners = [...new Set(relays.flatMap(({ owner }) => owner ?? []))];
    const answers = new Map(await Promise.all(owners.map(async (owner) => [owner, await this.#ask(owner)] as const)));
    const ownerOf = new Map(relays.map(({ id, owner }) => [id, owner]));
    return (id) => {
      const answer = answers.get(ownerOf.get(id) ?? '') ?? 'gone';
      if (answer === 'unknown') return { tag: 'unknown' };
      if (answer === 'gone') return { tag: 'orphan' };
      const live = answer.get(id);
      return live === undefined ? { tag: 'unknown' } : { tag: 'live', live };
    };
  }

  async #ask(instanceId: string): Promise<ReadonlyMap<string, LiveRelay> | 'gone' | 'unknown'> {
    const { bus, log } = this.ports;
    try {
      const { relays } = await bus.call(InstanceRelays.method.listRelays, { instanceId });
      return new Map(relays.flatMap(liveRelay).map((live) => [live.id, live]));
    } catch (err) {
      // An instance that has ended no longer answers under its name.
      if (nobodyServes(err)) return 'gone';
      log.warn({ err, instanceId }, 'an instance did not tell of its relays');
      return 'unknown';
    }
  }
}

const toMessage = ({ rttMs, availableBps, ...stats }: AttemptStats): MessageInitShape<typeof RelayStatsSchema> => ({
  packets: BigInt(stats.packets),
  bytes: BigInt(stats.bytes),
  resentPackets: BigInt(stats.resentPackets),
  fractionLost: stats.fractionLost,
  keyFrameRequests: BigInt(stats.keyFrameRequests),
  silentMs: stats.silentMs,
  ...(rttMs === undefined ? {} : { rttMs }),
  ...(availableBps === undefined ? {} : { availableBps: BigInt(Math.round(availableBps)) }),
});

const liveRelay = (relay: RunningRelay): LiveRelay[] => {
  const { relayId, reason, retries, notCarried, localMediaSessionId, remoteMediaSessionId, stats } = relay;
  const phase = phaseOf(relay.phase);
  if (phase === undefined) return [];
  const status = {
    ...{ phase, reason, retries, notCarried },
    localMediaSessionId: localMediaSessionId || null,
    remoteMediaSessionId: remoteMediaSessionId || null,
  };
  return [
    {
      id: relayId,
      status,
      stats: {
        packets: Number(stats?.packets ?? 0),
        bytes: Number(stats?.bytes ?? 0),
        resentPackets: Number(stats?.resentPackets ?? 0),
        fractionLost: stats?.fractionLost ?? 0,
        rttMs: stats?.rttMs,
        availableBps: stats?.availableBps === undefined ? undefined : Number(stats.availableBps),
        keyFrameRequests: Number(stats?.keyFrameRequests ?? 0),
        silentMs: stats?.silentMs ?? 0,
      },
    },
  ];
};
