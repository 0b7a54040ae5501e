import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Bus } from '@weir/bus';
import { MediaEvents, type EndReason, type SessionChangedSchema, type StreamSignal } from '@weir/contracts';
import type { SessionIdentity, SessionStatsInit } from './session.js';

/** Tells the owner of a session what happens to it. */
export interface SessionNotifier {
  connected(session: SessionIdentity): void;
  /** @param detail what the source said, for people to read */
  ended(session: SessionIdentity, reason: EndReason, detail?: string): void;
  videoSize(session: SessionIdentity, width: number, height: number): void;
  stats(session: SessionIdentity, stats: SessionStatsInit): void;
  signal(session: SessionIdentity, signal: StreamSignal): void;
  notEnoughBandwidth(session: SessionIdentity, neededBps: number, availableBps: number): void;
  /** Passes on an offer that the client must answer. */
  offer(session: SessionIdentity, sdp: string): void;
  /** @param reason for people to read */
  notCarried(session: SessionIdentity, reason: string): void;
}

/** Publishes `MediaEvents.SessionChanged`. */
export class BusNotifier implements SessionNotifier {
  constructor(private readonly bus: Bus) {}

  connected(session: SessionIdentity): void {
    this.#send(session, { case: 'connected', value: {} });
  }

  ended(session: SessionIdentity, reason: EndReason, detail = ''): void {
    this.#send(session, { case: 'ended', value: { reason, detail } });
  }

  videoSize(session: SessionIdentity, width: number, height: number): void {
    this.#send(session, { case: 'videoSize', value: { width, height } });
  }

  stats(session: SessionIdentity, stats: SessionStatsInit): void {
    this.#send(session, { case: 'stats', value: stats });
  }

  signal(session: SessionIdentity, signal: StreamSignal): void {
    this.#send(session, { case: 'signal', value: signal });
  }

  notEnoughBandwidth(session: SessionIdentity, neededBps: number, availableBps: number): void {
    this.#send(session, {
      case: 'notEnoughBandwidth',
      value: { neededBps: BigInt(neededBps), availableBps: BigInt(availableBps) },
    });
  }

  offer(session: SessionIdentity, sdp: string): void {
    this.#send(session, { case: 'offer', value: { sdp } });
  }

  notCarried(session: SessionIdentity, reason: string): void {
    this.#send(session, { case: 'notCarried', value: { reason } });
  }

  #send({ ownerId, sessionId }: SessionIdentity, change: SessionChange): void {
    this.bus.publish(MediaEvents.method.sessionChanged, { ownerId, sessionId, change });
  }
}

type SessionChange = NonNullable<MessageInitShape<typeof SessionChangedSchema>['change']>;
